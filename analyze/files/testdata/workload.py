#!/usr/bin/env python3
"""tiny.py MNT MARKFILE OPLOG MANIFESTDIR: a small intrusion, with a mark and a manifest after each step."""
import os,sys,random,json,time,subprocess
mnt,markf,oplog,mdir=sys.argv[1:5];R=random.Random(7);L=open(oplog,'w');os.makedirs(mdir,exist_ok=True)
HERE=os.path.dirname(os.path.abspath(__file__));n=0
P=lambda p:os.path.join(mnt,p)
def op(kind,f,**a):
    t0=time.time_ns()
    try:f();e=None
    except OSError as x:e=x.errno
    L.write(json.dumps(dict(t0=t0,t1=time.time_ns(),op=kind,err=e,**a))+'\n')
def mark():
    global n
    L.flush();os.sync()
    fd=os.open(markf,os.O_WRONLY);os.write(fd,b'cp%04d'%n);os.close(fd)
    with open(os.path.join(mdir,'cp%04d.jsonl'%n),'w') as f:subprocess.check_call([sys.executable,HERE+'/manifest.py',mnt],stdout=f)
    n+=1
def wr(p,b,off=None,flags=os.O_CREAT,sync=False):
    fd=os.open(P(p),os.O_WRONLY|flags,0o644)
    try:
        if off is None:os.write(fd,b)
        else:os.pwrite(fd,b,off)
        if sync:os.fsync(fd)
    finally:os.close(fd)
for d in('etc','etc/cron.d','home','home/u','var','var/log','tmp','usr','usr/bin'):op('mkdir',lambda:os.mkdir(P(d)),path=d)
op('create',lambda:wr('etc/passwd',b''.join(b'user%d:x:%d:%d::/home/user%d:/bin/sh\n'%(i,i+1000,i+1000,i) for i in range(40))),path='etc/passwd')
op('create',lambda:wr('var/log/auth.log',b''.join(b'Jan  1 00:00:%02d host sshd[1]: Accepted password for user%d from 10.0.0.%d\n'%(i%60,i%40,i%250) for i in range(300))),path='var/log/auth.log')
words=[b'alpha',b'beta',b'gamma',b'delta',b'report',b'budget',b'meeting',b'the',b'of',b'and']
for i in range(12):
    p='home/u/doc%02d.txt'%i;op('create',lambda:wr(p,b' '.join(R.choice(words) for _ in range(200+30*i))),path=p)
op('create',lambda:wr('usr/bin/sudo',b'\x7fELF'+b'sudo '*500),path='usr/bin/sudo');op('chmod',lambda:os.chmod(P('usr/bin/sudo'),0o4755),path='usr/bin/sudo',mode=0o4755)
mark()
op('append',lambda:wr('etc/passwd',b'toor:x:0:0::/root:/bin/bash\n',flags=os.O_APPEND),path='etc/passwd');mark()
op('create',lambda:wr('tmp/.y',b'\x7fELF'+b'dropper '*300,sync=True),path='tmp/.y');op('chmod',lambda:os.chmod(P('tmp/.y'),0o755),path='tmp/.y',mode=0o755);os.sync();op('unlink',lambda:os.unlink(P('tmp/.y')),path='tmp/.y');mark()
op('create',lambda:wr('usr/bin/.bd',b'\x7fELF'+b'backdoor'*100),path='usr/bin/.bd');op('chmod',lambda:os.chmod(P('usr/bin/.bd'),0o4755),path='usr/bin/.bd',mode=0o4755)
op('utime',lambda:os.utime(P('usr/bin/.bd'),(1500000000,1500000000)),path='usr/bin/.bd',mtime=1500000000);mark()
op('create',lambda:wr('etc/cron.d/upd',b'* * * * * root /usr/bin/.bd\n'),path='etc/cron.d/upd');mark()
op('truncate',lambda:os.truncate(P('var/log/auth.log'),1000),path='var/log/auth.log',size=1000);mark()
for i in range(12):
    p='home/u/doc%02d.txt'%i;b=open(P(p),'rb').read();e=R.randbytes(len(b))
    if i<4:op('create',lambda:wr(p+'.enc',e),path=p+'.enc');op('unlink',lambda:os.unlink(P(p)),path=p)
    elif i<8:op('pwrite',lambda:wr(p,e,off=0,flags=0),path=p,off=0,size=len(e))
    else:op('pwrite',lambda:wr(p,e,off=0,flags=0),path=p,off=0,size=len(e));op('rename',lambda:os.rename(P(p),P(p[:-3]+'locked')),src=p,dst=p[:-3]+'locked')
mark()
op('link',lambda:os.link(P('etc/passwd'),P('etc/passwd-')),src='etc/passwd',dst='etc/passwd-')
op('symlink',lambda:os.symlink('/usr/bin/.bd',P('usr/bin/ls')),path='usr/bin/ls')
op('symlink',lambda:os.symlink('t'*100,P('usr/bin/long')),path='usr/bin/long')
op('setxattr',lambda:os.setxattr(P('usr/bin/.bd'),'user.note',b'v'*300),path='usr/bin/.bd')
op('chown',lambda:os.chown(P('etc/cron.d/upd'),70000,5),path='etc/cron.d/upd')
op('rename',lambda:os.rename(P('home/u'),P('home/v')),src='home/u',dst='home/v')
mark()
def mk():
    global fd
    fd=os.open(P('tmp/open'),os.O_RDWR|os.O_CREAT,0o600);os.write(fd,b'still open '*50)
op('create',mk,path='tmp/open');os.sync();op('unlink',lambda:os.unlink(P('tmp/open')),path='tmp/open');mark()
os.close(fd);os.sync();mark()
op('mkdir',lambda:os.mkdir(P('tmp/d')),path='tmp/d');op('rmdir',lambda:os.rmdir(P('home/v')) if False else os.rmdir(P('tmp/d')),path='tmp/d')
op('unlink',lambda:os.unlink(P('usr/bin/long')),path='usr/bin/long');mark()
L.close()
