#!/usr/bin/env python3
"""small workload for committed fixtures: compressible content. args: MNT MARKFILE MANDIR SEED NOPS CPS"""
import os,sys,random,subprocess
mnt,markf,mdir,seed,nops,cps=sys.argv[1:7];R=random.Random(int(seed));nops=int(nops);cps=int(cps);os.makedirs(mdir,exist_ok=True)
fs=sys.argv[7] if len(sys.argv)>7 else ''
n=0
def mark(s):
    fd=os.open(markf,os.O_WRONLY);os.write(fd,s.encode());os.close(fd)
def cp():
    global n
    os.sync();mark('cp%04d'%n)
    with open(mdir+'/cp%04d.jsonl'%n,'w') as f:subprocess.check_call([sys.executable,os.path.join(os.path.dirname(os.path.abspath(__file__)),'manifest.py'),mnt],stdout=f)
    n+=1
P=lambda p:os.path.join(mnt,p)
def text(k):
    return (('line %d of some text that compresses well\n'%R.randint(0,99))*(k//40+1))[:k].encode()
def wr(p,b,off=None,flags=os.O_CREAT,sync=False):
    fd=os.open(P(p),os.O_WRONLY|flags,0o644)
    try:
        os.write(fd,b) if off is None else os.pwrite(fd,b,off)
        if sync:os.fsync(fd)
    finally:os.close(fd)
dirs=['']
files=[];k=0
for i in range(4):
    d='dir%d'%i;os.mkdir(P(d));dirs.append(d)
cp()
def t(f):
    try:f()
    except OSError:pass
for i in range(nops):
    x=R.random();f=R.choice(files) if files else None
    if x<.3 or not f:
        p=os.path.join(R.choice(dirs),'file%d'%k);k+=1;wr(p,text(R.choice([0,10,200,3000,5000,20000])),flags=os.O_CREAT|os.O_EXCL,sync=R.random()<.1);files.append(p)
    elif x<.4:wr(f,text(R.choice([1,100,4096])),flags=os.O_APPEND,sync=R.random()<.1)
    elif x<.5:wr(f,text(R.choice([1,512,4096])),off=R.randint(0,os.path.getsize(P(f))+5000),flags=0)
    elif x<.55:os.truncate(P(f),R.choice([0,R.randint(0,30000)]))
    elif x<.65:
        q=os.path.join(R.choice(dirs),'ren%d'%k);k+=1;os.rename(P(f),P(q));files.remove(f);files.append(q)
    elif x<.75:os.unlink(P(f));files.remove(f)
    elif x<.80:os.chmod(P(f),R.choice([0o600,0o755,0o4755]))
    elif x<.83:os.chown(P(f),R.randint(0,70000),5)
    elif x<.86:s=R.randint(10**9,17*10**8);os.utime(P(f),(s,s))
    elif x<.90:t(lambda:os.setxattr(P(f),'user.k%d'%R.randint(0,3),text(R.choice([8,100,800]))))
    elif x<.93:
        q=os.path.join(R.choice(dirs),'hl%d'%k);k+=1
        t(lambda:(os.link(P(f),P(q)),files.append(q)))
    elif x<.95:t(lambda:os.symlink('t'*R.choice([10,60,200]),P(os.path.join(R.choice(dirs),'sl%d'%k))));k+=1
    elif x<.98:d=os.path.join(R.choice(dirs),'sub%d'%k);k+=1;os.mkdir(P(d));dirs.append(d)
    else:t(lambda:subprocess.call(['fallocate','-p','-o','4096','-l','4096',P(f)],stderr=subprocess.DEVNULL))
    if i%max(1,nops//cps)==nops//cps-1:cp()
