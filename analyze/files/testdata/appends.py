#!/usr/bin/env python3
"""appends.py MNT MARKFILE OPLOG: files that grow or are overwritten in place, small pieces at a time, synced now and then;
the kernel writes their last blocks before or after the log says that they are longer."""
import os,sys,json,time
mnt,markf,oplog=sys.argv[1:4];L=open(oplog,'w') if oplog!='-' else None;P=lambda p:os.path.join(mnt,p)
if L is None:
    os.mkdir(P('log'))
    for n in('a','b','c','utmp'):open(P('log/'+n),'wb').write(b'first line of %s\n'%n.encode()*20)
    sys.exit()
def op(kind,f,**a):t0=time.time_ns();f();L.write(json.dumps(dict(t0=t0,t1=time.time_ns(),op=kind,err=None,**a))+'\n')
def wr(p,b,off=None):
    fd=os.open(P(p),os.O_WRONLY|(os.O_APPEND if off is None else 0))
    os.write(fd,b) if off is None else os.pwrite(fd,b,off);os.close(fd)
def data(p):
    c=__import__("ctypes");fd=os.open(P(p),os.O_RDWR);c.CDLL(None).sync_file_range(fd,c.c_long(0),c.c_long(0),7);os.close(fd)
for i in range(6):
    for n in('a','b'):
        op('append',lambda:wr('log/'+n,b'%d: something happened\n'%i),path='log/'+n);data('log/'+n);time.sleep(.3) # the bytes only
    os.sync();time.sleep(.3)
for i in range(3):op('pwrite',lambda:wr('log/utmp',bytes([65+i])*300,0),path='log/utmp');data('log/utmp');time.sleep(.3)
op('utime',lambda:os.utime(P('log/utmp'),(1500000000,1500000000)),path='log/utmp');os.sync();time.sleep(.3)
op('append',lambda:wr('log/c',b'x'*9000),path='log/c');data('log/c');os.sync();time.sleep(.3)
op('pwrite',lambda:wr('log/c',b'y'*500,4000),path='log/c');data('log/c');time.sleep(.3);op('unlink',lambda:os.unlink(P('log/c')),path='log/c');os.sync();time.sleep(.3)
op('append',lambda:wr('log/a',b'the last\n'),path='log/a');data('log/a')
fd=os.open(markf,os.O_WRONLY);os.write(fd,b'end');os.close(fd)
L.close()
