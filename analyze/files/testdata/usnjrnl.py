#!/usr/bin/env python3
"""usnjrnl.py MNT DEVICE MARKFILE OPLOG MANIFESTDIR: file operations on an NTFS mounted by ntfs-3g (show_sys_files,
streams_interface=windows), each followed by the records that Windows appends for it to $Extend\\$UsnJrnl:$J.
ntfs-3g keeps no change journal: the records are laid out here after [MS-FSCC] 2.3.62, USN_RECORD_V2, V3 and V4, in 4096-byte
pages that no record crosses. Files alternate between versions 2 and 3; every third write is followed by a version 4.
MARKFILE "make" makes the file, in the root, where alone ntfs-3g lets it; "move", on the image MNT, moves it to $Extend."""
import os,sys,json,time,struct,hashlib,stat
mnt,dev,markf,oplog,mdir=sys.argv[1:6];n=0
P=lambda p:os.path.join(mnt,p);J=P('$Extend/$UsnJrnl:$J')
CREATE,DELETE,OLD,NEW,OVER,EXTEND,TRUNC,INFO,LINK,CLOSE=0x100,0x200,0x1000,0x2000,1,2,4,0x8000,0x10000,1<<31
D=os.open(dev,os.O_RDONLY)
def mft():
    b=os.pread(D,512,0);c=b[13]*struct.unpack_from('<H',b,11)[0];lcn=struct.unpack_from('<Q',b,0x30)[0]
    r=os.pread(D,1024,lcn*c);a=struct.unpack_from('<H',r,20)[0];runs=[]
    while struct.unpack_from('<I',r,a)[0]!=0x80:a+=struct.unpack_from('<I',r,a+4)[0]
    k=a+struct.unpack_from('<H',r,a+32)[0];at=0
    while r[k]:
        l,o=r[k]&15,r[k]>>4;at+=int.from_bytes(r[k+1+l:k+1+l+o],'little',signed=True)
        runs.append((at*c,int.from_bytes(r[k+1:k+1+l],'little')*c));k+=1+l+o
    return runs
def ref(p):
    ino=os.lstat(P(p)).st_ino;off=ino*1024
    for at,ln in mft():
        if off<ln:return ino|struct.unpack_from('<H',os.pread(D,1024,at+off),16)[0]<<48
        off-=ln
def unfix(r):
    for k in range(1,3):r[k*512-2:k*512]=r[48+2*k:50+2*k]
def fixed(r):
    for k in range(1,3):r[48+2*k:50+2*k]=r[k*512-2:k*512];r[k*512-2:k*512]=r[48:50]
def attr(r,typ):
    a=struct.unpack_from('<H',r,20)[0]
    while struct.unpack_from('<I',r,a)[0]!=typ:a+=struct.unpack_from('<I',r,a+4)[0]
    return a
if markf=='make':
    os.close(os.open(P('$UsnJrnl'),os.O_CREAT|os.O_WRONLY,0o600));f=os.open(P('$UsnJrnl:$J'),os.O_CREAT|os.O_WRONLY,0o600)
    os.ftruncate(f,1<<20);os.close(f);print(os.stat(P('$UsnJrnl')).st_ino);sys.exit()
if markf=='move':
    num=int(oplog);at=mft()[0][0];F=os.open(mnt,os.O_RDWR)
    get=lambda k:bytearray(os.pread(F,1024,at+k*1024));put=lambda k,r:(fixed(r),os.pwrite(F,r,at+k*1024))
    r=get(num);unfix(r);a=attr(r,0x30);struct.pack_into('<Q',r,a+24,11|11<<48);key=bytes(r[a+24:a+24+66+16]);put(num,r)
    e=struct.pack('<QHHI',num|struct.unpack_from('<H',r,16)[0]<<48,16+88,len(key),0)+key.ljust(88,b'\0')
    x=get(11);unfix(x);a=attr(x,0x90);v=a+struct.unpack_from('<H',x,a+20)[0];k=v+32
    while not struct.unpack_from('<I',x,k+12)[0]&2:k+=struct.unpack_from('<H',x,k+8)[0]
    used=struct.unpack_from('<I',x,24)[0];x[k:used+len(e)]=e+x[k:used];struct.pack_into('<I',x,24,used+len(e))
    for o in(a+4,a+16,v+20,v+24):struct.pack_into('<I',x,o,struct.unpack_from('<I',x,o)[0]+len(e))
    put(11,x);sys.exit()
class Journal:
    def __init__(j):j.f=os.open(J,os.O_WRONLY);j.at=1<<20
    def room(j,size):
        if j.at%4096+size>4096:os.pwrite(j.f,bytes(4096-j.at%4096),j.at);j.at+=4096-j.at%4096
    def add(j,file,parent,name,reason,attr=0x20,v3=False):
        name=name.encode('utf-16le');head=76 if v3 else 60;size=(head+len(name)+7)//8*8;j.room(size)
        t=time.time_ns()//100+116444736000000000
        refs=struct.pack('<QQQQ',file,0,parent,0) if v3 else struct.pack('<QQ',file,parent)
        r=struct.pack('<IHH',size,3 if v3 else 2,0)+refs+struct.pack('<QQIIIIHH',j.at,t,reason,0,0,attr,len(name),head)+name
        os.pwrite(j.f,r.ljust(size,b'\0'),j.at);j.at+=size
    def ranges(j,file,parent,reason,ext):
        size=64+16*len(ext);j.room(size)
        r=struct.pack('<IHHQQQQQIIIHH',size,4,0,file,0,parent,0,j.at,reason|CLOSE,0,0,len(ext),16)+b''.join(struct.pack('<QQ',*e) for e in ext)
        os.pwrite(j.f,r,j.at);j.at+=size
j=Journal();writes=0;L=open(oplog,'w');os.makedirs(mdir,exist_ok=True)
def par(p):return ref(os.path.dirname(p) or '.')
def v3(f):return (f&0xffffffffffff)%2==1
def log(t0,op,**a):L.write(json.dumps(dict(t0=t0,t1=time.time_ns(),op=op,err=None,**a))+'\n')
def rec(f,p,reason,dir=False):j.add(f,par(p),os.path.basename(p),reason,0x10 if dir else 0x20,v3(f))
def create(p,b=b''):
    t0=time.time_ns();open(P(p),'wb').close();f=ref(p);rec(f,p,CREATE);r=CREATE
    if b:
        with open(P(p),'wb') as x:x.write(b)
        r|=EXTEND;rec(f,p,r)
    rec(f,p,r|CLOSE);log(t0,'create',path=p,size=len(b))
def mkdir(p):t0=time.time_ns();os.mkdir(P(p));f=ref(p);rec(f,p,CREATE,True);rec(f,p,CREATE|CLOSE,True);log(t0,'mkdir',path=p)
def write(p,b,off=None):
    global writes
    t0=time.time_ns();f=ref(p);s=os.path.getsize(P(p));o=s if off is None else off
    with open(P(p),'r+b') as x:x.seek(o);x.write(b)
    r=(OVER if o<s else 0)|(EXTEND if o+len(b)>s else 0);rec(f,p,r);rec(f,p,r|CLOSE);writes+=1
    if writes%3==0:j.ranges(f,par(p),r,[(o,len(b))])
    log(t0,'pwrite',path=p,off=o,size=len(b))
def truncate(p,k):t0=time.time_ns();f=ref(p);os.truncate(P(p),k);rec(f,p,TRUNC);rec(f,p,TRUNC|CLOSE);log(t0,'truncate',path=p,size=k)
def utime(p,t):t0=time.time_ns();f=ref(p);os.utime(P(p),(t,t));rec(f,p,INFO);rec(f,p,INFO|CLOSE);log(t0,'utime',path=p)
def rename(a,b):
    t0=time.time_ns();f=ref(a);d=os.path.isdir(P(a));rec(f,a,OLD,d);os.rename(P(a),P(b));rec(f,b,NEW,d);rec(f,b,NEW|CLOSE,d);log(t0,'rename',src=a,dst=b)
def link(a,b):t0=time.time_ns();f=ref(a);os.link(P(a),P(b));rec(f,b,LINK);rec(f,b,LINK|CLOSE);log(t0,'link',src=a,dst=b)
def unlink(p):
    t0=time.time_ns();f=ref(p);up=par(p);last=os.lstat(P(p)).st_nlink==1;os.unlink(P(p))
    if last:j.add(f,up,os.path.basename(p),DELETE|CLOSE,0x20,v3(f))
    else:j.add(f,up,os.path.basename(p),LINK,0x20,v3(f));j.add(f,up,os.path.basename(p),LINK|CLOSE,0x20,v3(f))
    log(t0,'unlink',path=p)
def rmdir(p):t0=time.time_ns();f=ref(p);up=par(p);os.rmdir(P(p));j.add(f,up,os.path.basename(p),DELETE|CLOSE,0x10,v3(f));log(t0,'rmdir',path=p)
def mark():
    global n
    L.flush();os.sync();fd=os.open(markf,os.O_WRONLY);os.write(fd,b'cp%04d'%n);os.close(fd)
    with open(os.path.join(mdir,'cp%04d.jsonl'%n),'w') as f:
        for d,ds,fs in os.walk(mnt):
            ds[:]=sorted(x for x in ds if x[0]!='$')
            for p in [d]+[os.path.join(d,x) for x in sorted(fs) if x[0]!='$']:
                st=os.lstat(p);r=dict(path=p[len(mnt):] or '/',t='d' if stat.S_ISDIR(st.st_mode) else 'f',mode=st.st_mode&0o7777,uid=st.st_uid,gid=st.st_gid,nlink=st.st_nlink,ino=st.st_ino,mt=st.st_mtime_ns,ct=st.st_ctime_ns,size=st.st_size)
                if r['t']=='f':r['sha']=hashlib.sha256(open(p,'rb').read()).hexdigest()
                f.write(json.dumps(r)+'\n')
    n+=1
if markf=='-': # what is on the volume before the recording: files, and their records
    mkdir('old');[create('old/f%d.txt'%i,b'line %d\n'%i*20) for i in range(40)];create('old/doc.txt',b'first words\n'*30);rename('old/f39.txt','old/g.txt')
    os.fsync(j.f);print(j.at);sys.exit()
j.at=int(open(os.path.join(os.path.dirname(oplog),'journal-at')).read())
words=[b'report',b'budget',b'meeting',b'the',b'of',b'and']
mark()
mkdir('home');create('home/a.txt',b'alpha '*50);create('home/b.txt');write('old/doc.txt',b'more\n');mark()
create('home/dropper.exe',b'MZ'+b'payload '*90);unlink('home/dropper.exe');mark()              # never in the MFT
create('home/tmp1',b'draft '*30);rename('home/tmp1','home/tmp2');rename('home/tmp2','home/final.txt');mark() # born under another name
rename('home/a.txt','home/a1.txt');rename('home/a1.txt','old/a2.txt');rename('old/g.txt','old/h.txt');mark()
mkdir('home/gone');create('home/gone/x',b'x'*100);create('home/gone/y');unlink('home/gone/x');unlink('home/gone/y');rmdir('home/gone');mark()
for i in range(8):p='old/f%d.txt'%i;write(p,bytes((i*7+k*k*13+k//3)%256 for k in range(140)),0);rename(p,p+'.locked')
mark()
write('old/doc.txt',b'1');write('old/doc.txt',b'2');write('old/doc.txt',b'345',0);truncate('old/f20.txt',7);utime('old/f21.txt',1500000000);mark()
link('old/f22.txt','home/linked');unlink('old/f22.txt');[unlink('old/f%d.txt'%i) for i in range(23,30)];mark()
rename('home','user');create('user/new.txt',b'n');rename('user','home');mark()
for i in range(30):create('home/t%d'%i,b'%d'%i);unlink('home/t%d'%i)
create('home/last',b'z'*9000);mark()
L.close()
