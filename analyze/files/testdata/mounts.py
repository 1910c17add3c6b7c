#!/usr/bin/env python3
"""mounts.py TRACE marks [TYPE] | mounts.py TRACE prefixes COUNT SEED [MOUNTOPTS]: what this machine's kernel shows
of a trace's blocks, for the tests that compare with that. It needs root and a loop device.
marks: at each mark, kernel/MARK.jsonl with the journal replayed and kernel/MARK.inplace.jsonl without. With a
TYPE for mount -t (ntfs-3g, exfat-fuse) only the second, read-only: there is no journal that mounting replays.
prefixes: after COUNT random numbers N of entries, prefix/N.jsonl; where the kernel refuses to mount, what it
and e2fsck -n say, in prefix/N.refused. A path that it refuses to read has "err"."""
import sys,os,json,hashlib,stat,errno,struct,random,subprocess,tempfile
trace,what=sys.argv[1:3];fstype=['-t',sys.argv[3]] if what=='marks' and len(sys.argv)>3 else []

def entries():
    """each entry's mark, offset and bytes (None: discarded) of a dm-log-writes log"""
    with open(trace+'/log','rb') as f:
        n=struct.unpack('<QQQ',f.read(512)[:24])[2]
        for _ in range(n):
            h=f.read(512);sector,count,flags,length=struct.unpack('<QQQQ',h[:32])
            if flags&8:yield h[32:32+length].decode(),0,b''
            elif flags&4:yield '',sector*512,(None,count*512)
            else:yield '',sector*512,f.read(count*512)

def apply(img,off,data):
    if isinstance(data,tuple):
        for at in range(off,off+data[1],1<<20):os.pwrite(img,bytes(min(1<<20,off+data[1]-at)),at)
    elif data:os.pwrite(img,data,off)

def eas(p):
    """what ntfs-3g gives as one attribute that it does not list: FILE_FULL_EA_INFORMATION, MS-FSCC 2.4.16"""
    try:b=os.getxattr(p,'system.ntfs_ea',follow_symlinks=False)
    except OSError:return {}
    at,out=0,{}
    while True:
        step,_,n,v=struct.unpack_from('<IBBH',b,at);name=b[at+8:at+8+n].decode();value=b[at+9+n:at+9+n+v]
        out[name]=hashlib.sha256(value).hexdigest()[:16];at+=step
        if not step or at>=len(b):return out

def entry(root,p):
    q=p[len(root):] or b'/';r={}
    try:r['path']=q.decode()
    except UnicodeDecodeError:r.update(path='',ph=q.hex())
    try:
        st=os.lstat(p);r['t']={stat.S_IFREG:'f',stat.S_IFDIR:'d',stat.S_IFLNK:'l',stat.S_IFIFO:'p',stat.S_IFSOCK:'s',stat.S_IFCHR:'c',stat.S_IFBLK:'b'}[stat.S_IFMT(st.st_mode)]
        r.update(mode=st.st_mode&0o7777,uid=st.st_uid,gid=st.st_gid,nlink=st.st_nlink,ino=st.st_ino,mt=st.st_mtime_ns,ct=st.st_ctime_ns,size=st.st_size)
        if r['t'] in 'cb':r['dev']=[os.major(st.st_rdev),os.minor(st.st_rdev)]
        if r['t']=='f':
            h=hashlib.sha256()
            with open(p,'rb') as f:
                while b:=f.read(1<<20):h.update(b)
            r['sha']=h.hexdigest()
        if r['t']=='l':r['lh']=os.readlink(p).hex()
        try:names=os.listxattr(p,follow_symlinks=False)
        except OSError as e:
            if e.errno!=errno.ENOTSUP:raise
            names=[] # exFAT has none
        x={k:hashlib.sha256(os.getxattr(p,k,follow_symlinks=False)).hexdigest()[:16] for k in names if not k.startswith('system.ntfs')}
        if '-t' in fstype:
            x.update(eas(p))
            try:r['nlink']-=r['t']=='f' and len(os.getxattr(p,'system.ntfs_dos_name',follow_symlinks=False))>0 # it counts it as a link
            except OSError:pass
        if x:r['x']=x
        if r['t']=='d':r['names']=sorted(os.listdir(p)) # bytes, as p is
    except OSError as e:r['err']=errno.errorcode.get(e.errno,str(e.errno))
    return r

def tree(root):
    todo,out=[os.fsencode(root)],[]
    while todo:
        p=todo.pop(0);r=entry(os.fsencode(root),p)
        todo[:0]=[p+b'/'+n for n in r.pop('names',[])];out.append(json.dumps(r,ensure_ascii=False,sort_keys=True))
    return '\n'.join(out)+'\n'

def mounted(image,opts,to):
    """mounts a copy of the image and writes what it shows"""
    with tempfile.TemporaryDirectory() as d:
        subprocess.check_call(['cp','--sparse=always',image,d+'/img']);os.mkdir(d+'/m')
        m=subprocess.run(['mount',*fstype,'-o',','.join(['loop']+opts),d+'/img',d+'/m'],capture_output=True,text=True)
        if m.returncode:
            fsck=subprocess.run(['e2fsck','-fn',d+'/img'],capture_output=True,text=True).stdout
            open(to[:-6]+'.refused','w').write(m.stderr+fsck[:2000]);print(to,'refused:',m.stderr.strip())
            return
        try:open(to,'w').write(tree(d+'/m'))
        finally:subprocess.check_call(['umount',d+'/m'])

def main():
    opts=sys.argv[5:6];at=set()
    if what=='prefixes':
        R=random.Random(int(sys.argv[4]));at=set(R.sample(range(10,sum(1 for _ in entries())),int(sys.argv[3])))
    os.makedirs(trace+('/prefix' if at else '/kernel'),exist_ok=True)
    with tempfile.TemporaryDirectory() as d:
        subprocess.check_call(['cp','--sparse=always',trace+'/base.img',d+'/img'])
        img=os.open(d+'/img',os.O_RDWR)
        for n,(mark,off,data) in enumerate(entries()):
            if n in at:mounted(d+'/img',opts,f'{trace}/prefix/{n}.jsonl')
            if mark.startswith('cp') and what=='marks':
                if not fstype:mounted(d+'/img',opts,f'{trace}/kernel/{mark}.jsonl')
                mounted(d+'/img',opts+['ro']+['noload']*(not fstype),f'{trace}/kernel/{mark}.inplace.jsonl')
            apply(img,off,data)
main()
