#!/usr/bin/env python3
"""replaced.py MNT MARKFILE OPLOG MANIFESTDIR LINKS: files are written beside others, synced, appended to and renamed into
their place, all within a second or two; LINKS > 0: one in four of them has so many names of its own, that come and go."""
import os,sys,json,time,hashlib,stat
mnt,markf,oplog,mdir,links=sys.argv[1:6];links=int(links);n=0
P=lambda p:os.path.join(mnt,p)
L=open(oplog,'w');os.makedirs(mdir,exist_ok=True)
def op(kind,f,**a):t0=time.time_ns();f();L.write(json.dumps(dict(t0=t0,t1=time.time_ns(),op=kind,err=None,**a))+'\n')
def wr(p,b,flags):
    fd=os.open(P(p),os.O_WRONLY|flags,0o644);os.write(fd,b);os.close(fd)
def entry(p):
    st=os.lstat(P(p));d=stat.S_ISDIR(st.st_mode)
    r=dict(path='/'+p,t='d' if d else 'f',mode=st.st_mode&0o7777,uid=0,gid=0,nlink=st.st_nlink,ino=st.st_ino,mt=st.st_mtime_ns,ct=st.st_ctime_ns,size=st.st_size)
    if not d:r['sha']=hashlib.sha256(open(P(p),'rb').read()).hexdigest()
    return r
def mark():
    global n
    os.sync();fd=os.open(markf,os.O_WRONLY);os.write(fd,b'cp%04d'%n);os.close(fd)
    with open(os.path.join(mdir,'cp%04d.jsonl'%n),'w') as f:
        for p in ['','a','b']+sorted('%s/%s'%(d,x) for d in 'ab' for x in os.listdir(P(d))):f.write(json.dumps(entry(p),sort_keys=True)+'\n')
    n+=1
for d in 'ab':op('mkdir',lambda:os.mkdir(P(d)),path=d)
for i in range(8):op('create',lambda:wr('a/f%d'%i,b'first %d '%i*80,os.O_CREAT),path='a/f%d'%i)
mark();far=[]
for r in range(4):
    for i in range(8):op('create',lambda:wr('b/new%d_%d'%(r,i),b'round %d file %d '%(r,i)*(40+60*i),os.O_CREAT),path='b/new%d_%d'%(r,i))
    mark();time.sleep(.35)
    for q in far:op('unlink',lambda:os.unlink(P(q)),path=q)
    far=[]
    for i in (5,2,7,0,3,6,1,4):
        p,q='b/new%d_%d'%(r,i),'a/f%d'%i
        if i%2:op('append',lambda:wr(p,b'more %d '%r*200,os.O_APPEND),path=p)
        for k in range(links if i%4==3 else 0):
            far.append('b/%s%d_%d_%d'%('long'*20,r,i,k));op('link',lambda:os.link(P(p),P(far[-1])),src=p,dst=far[-1])
        op('rename',lambda:os.rename(P(p),P(q)),src=p,dst=q)
    mark();time.sleep(.35)
L.close()
