#!/usr/bin/env python3
"""tiny tree with the awkward cases, compressible: MNT [unix|plain]"""
import os,sys,random,socket,stat,subprocess
root=sys.argv[1];plain=len(sys.argv)>2 and sys.argv[2]=='plain';R=random.Random(5)
def w(p,b):
    with open(os.path.join(root,p),'wb') as f:f.write(b)
def text(n):return (b'some words that compress %d\n'%R.randint(0,9)*(n//25+1))[:n]
os.makedirs(root+'/dir/sub/deeper');bd=root+'/bigdir';os.mkdir(bd)
for i in range(700):w('bigdir/entry-%04d-%s'%(i,'y'*(i%40)),b'%d\n'%i if i%3==0 else b'')
for e in sorted(os.listdir(bd))[::7]:os.unlink(bd+'/'+e)
for i,n in enumerate([0,1,20,150,511,2000,4095,4096,4097,12345,70000,300000]):w('dir/size-%d'%n,text(n))
w('dir/name sp äö-日本',b'x');w('dir/'+'n'*200,b'y')
with open(root+'/dir/sparse','wb') as f:f.seek(1<<20);f.write(b'A'*5000);f.seek(5<<20);f.write(b'B'*100);f.truncate(9<<20)
a=os.open(root+'/dir/frag-a',os.O_CREAT|os.O_WRONLY);b=os.open(root+'/dir/frag-b',os.O_CREAT|os.O_WRONLY)
for i in range(60):
    os.pwrite(a,bytes([i%251])*4096,i*8192);os.fsync(a);os.pwrite(b,bytes([i%241])*4096,i*4096);os.fsync(b)
w('dir/bytes',bytes(range(256))*40)
if not plain:
    os.symlink('short',root+'/dir/fast');os.symlink('long/'*30+'t',root+'/dir/slow');os.symlink('L'*1000,root+'/dir/slow1000')
    os.link(root+'/dir/size-2000',root+'/dir/sub/hard');os.mkfifo(root+'/dir/fifo')
    s=socket.socket(socket.AF_UNIX);c=os.getcwd();os.chdir(root+'/dir');s.bind('sock');os.chdir(c);s.close()
    os.mknod(root+'/dir/chr',stat.S_IFCHR|0o600,os.makedev(1,3));os.mknod(root+'/dir/blk',stat.S_IFBLK|0o600,os.makedev(259,3000))
    w('dir/suid',b'#!');os.chown(root+'/dir/suid',70000,4294967);os.chmod(root+'/dir/suid',0o4755)
    fd=os.open(root+'/dir/prealloc',os.O_CREAT|os.O_WRONLY);os.posix_fallocate(fd,0,1<<20);os.pwrite(fd,b'middle',1<<19);os.close(fd)
    w('dir/punched',text(100000));subprocess.call(['fallocate','-p','-o','65536','-l','16384',root+'/dir/punched'])
    for n,k,v in (('a','user.a',b'1'),('b','user.b',text(900)),('c','user.c',text(3000)),('c','user.huge',text(20000))):
        w('dir/x'+n,b'x') if not os.path.exists(root+'/dir/x'+n) else None
        try:os.setxattr(root+'/dir/x'+n,k,v)
        except OSError:pass
for nm,t in (('y1960',-315619200.5),('y2001',1e9+.123456789),('y2037',2145916800.999999999),('y2040',2208988800.25),('y2200',7258118400.75)):
    if plain and t<0:continue
    w('dir/'+nm,b'');os.utime(root+'/dir/'+nm,ns=(int(t*1e9),int(t*1e9)))
