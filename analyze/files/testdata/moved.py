#!/usr/bin/env python3
"""moved.py MNT MARKFILE OPLOG: files on a btrfs that a balance moves and a defragmentation writes anew, compressed; then
one of them is overwritten with what it holds."""
import os,sys,json,time,subprocess
mnt,markf,oplog=sys.argv[1:4];P=lambda p:os.path.join(mnt,p);L=open(oplog,'w')
def op(kind,f,**a):t0=time.time_ns();f();L.write(json.dumps(dict(t0=t0,t1=time.time_ns(),op=kind,err=None,**a))+'\n')
def wr(p,b,off=0):
    fd=os.open(P(p),os.O_WRONLY|os.O_CREAT,0o644);os.pwrite(fd,b,off);os.close(fd)
def sync():os.sync();time.sleep(.2)
for n in 'abc':op('create',lambda:wr(n,n.encode()*20000),path=n);sync()
op('pwrite',lambda:wr('b',b'changed',9000),path='b');sync()
subprocess.check_call(['btrfs','balance','start','--full-balance',mnt],stdout=2);sync()
subprocess.check_call(['btrfs','filesystem','defragment','-czstd',P('a'),P('b'),P('c')],stdout=2);sync()
op('pwrite',lambda:wr('c',b'c'*5000,4096),path='c');sync()
fd=os.open(markf,os.O_WRONLY);os.write(fd,b'end');os.close(fd)
L.close()
