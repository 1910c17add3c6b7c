#!/usr/bin/env python3
"""like operations.py for filesystems without unix attributes: MNT MARKFILE MANDIR SEED NOPS CPS"""
import os,sys,random,subprocess
mnt,markf,mdir,seed,nops,cps=sys.argv[1:7];R=random.Random(int(seed));nops=int(nops);cps=int(cps);os.makedirs(mdir,exist_ok=True)
n=0
def mark(s):
    fd=os.open(markf,os.O_WRONLY);os.write(fd,s.encode());os.close(fd)
def cp():
    global n
    fd=os.open(mnt,os.O_RDONLY)
    try:os.fsync(fd)
    except OSError:pass
    os.close(fd);os.sync();mark('cp%04d'%n)
    with open(mdir+'/cp%04d.jsonl'%n,'w') as f:subprocess.check_call([sys.executable,os.path.join(os.path.dirname(os.path.abspath(__file__)),'manifest.py'),mnt],stdout=f)
    n+=1
P=lambda p:os.path.join(mnt,p)
def text(k):return (('line %d of some text that compresses well\n'%R.randint(0,99))*(k//40+1))[:k].encode()
def wr(p,b,off=None,flags=os.O_CREAT):
    fd=os.open(P(p),os.O_WRONLY|flags,0o644)
    try:os.write(fd,b) if off is None else os.pwrite(fd,b,off)
    finally:os.close(fd)
dirs=[''];files=[];k=0
for i in range(4):d='Directory number %d'%i;os.mkdir(P(d));dirs.append(d)
cp()
for i in range(nops):
    x=R.random();f=R.choice(files) if files else None
    if x<.35 or not f:
        p=os.path.join(R.choice(dirs),R.choice(['file%d','FILE%d.TXT','A long name äö %d.text','x%d.y'])%k);k+=1;wr(p,text(R.choice([0,10,200,3000,5000,20000])),flags=os.O_CREAT|os.O_EXCL);files.append(p)
    elif x<.45:wr(f,text(R.choice([1,100,4096,9000])),flags=os.O_APPEND)
    elif x<.55:wr(f,text(R.choice([1,512,4096])),off=R.randint(0,os.path.getsize(P(f))),flags=0)
    elif x<.62:os.truncate(P(f),R.choice([0,R.randint(0,30000)]))
    elif x<.75:q=os.path.join(R.choice(dirs),'renamed to %d'%k);k+=1;os.rename(P(f),P(q));files.remove(f);files.append(q)
    elif x<.88:os.unlink(P(f));files.remove(f)
    elif x<.92:s=R.randint(10**9,17*10**8);os.utime(P(f),(s,s))
    elif x<.96 and len(dirs)<12:d=os.path.join(R.choice(dirs),'sub%d'%k);k+=1;os.mkdir(P(d));dirs.append(d)
    elif len(dirs)>6:
        d=R.choice(dirs[5:]);q='moved dir %d'%k;k+=1;os.rename(P(d),P(q))
        fx=lambda p:q+p[len(d):] if p==d or p.startswith(d+'/') else p
        dirs=[fx(p) for p in dirs];files=[fx(p) for p in files]
    if i%max(1,nops//cps)==nops//cps-1:cp()
