#!/usr/bin/env python3
"""reused.py MNT MARKFILE OPLOG: a file with an ACL behind the fixed fields of its inode is removed; the file that gets its
number next is synced, by a fast commit that tells the fixed fields only. Then a file is written, its time set to long ago
and synced before its bytes are."""
import os,sys,json,struct,time
mnt,markf,oplog=sys.argv[1:4];P=lambda p:os.path.join(mnt,p)
L=open(oplog,'w')
def op(kind,f,**a):t0=time.time_ns();f();L.write(json.dumps(dict(t0=t0,t1=time.time_ns(),op=kind,err=None,**a))+'\n')
def wr(p,b,sync):
    fd=os.open(P(p),os.O_WRONLY|os.O_CREAT,0o644);os.write(fd,b)
    if sync:os.fsync(fd)
    os.close(fd)
acl=struct.pack('<I',2)+b''.join(struct.pack('<HHI',*e) for e in [(1,6,2**32-1),(2,5,322),(4,5,2**32-1),(16,4,2**32-1),(32,4,2**32-1)])
os.sync()
op('create',lambda:wr('old',b'old\n',False),path='old')
op('setxattr',lambda:os.setxattr(P('old'),'system.posix_acl_access',acl),path='old')
os.sync();time.sleep(.3)
ino=os.stat(P('old')).st_ino
op('unlink',lambda:os.unlink(P('old')),path='old');os.sync();time.sleep(.3)
op('create',lambda:wr('new',b'new\n',True),path='new');time.sleep(.3)
assert os.stat(P('new')).st_ino==ino
op('append',lambda:wr('new',b'n',True),path='new');os.sync();time.sleep(.3)
op('create',lambda:wr('dated',b'first\n',False),path='dated');os.sync();time.sleep(.3)
op('append',lambda:wr('dated',b'y'*3000,False),path='dated');os.sync();time.sleep(.3)
op('pwrite',lambda:wr('dated',b'x'*3000,False),path='dated')
op('utime',lambda:os.utime(P('dated'),(1500000000,1500000000)),path='dated')
wr('new',b'm',True);time.sleep(.3)
os.sync()
fd=os.open(markf,os.O_WRONLY);os.write(fd,b'end');os.close(fd)
L.close()
