#!/usr/bin/env python3
"""FAT trace through mtools on the traced disk file, with a model tree as oracle. args: DISK MARKFILE MANDIR SEED NOPS CPS"""
import os,sys,random,subprocess,json,hashlib,tempfile
disk,markf,mdir,seed,nops,cps=sys.argv[1:7];R=random.Random(int(seed));nops=int(nops);cps=int(cps);os.makedirs(mdir,exist_ok=True)
env=dict(os.environ,MTOOLS_SKIP_CHECK='1',TZ='UTC',LC_ALL='C.UTF-8')
def m(*a):subprocess.check_call(list(a),env=env,stdin=subprocess.DEVNULL,stdout=subprocess.DEVNULL)
def mark(s):
    fd=os.open(markf,os.O_WRONLY);os.write(fd,s.encode());os.close(fd)
n=0;tree={};dirs=['']
def text(k):return (('line %d of some text that compresses well\n'%R.randint(0,99))*(k//40+1))[:k].encode()
def cp():
    global n
    mark('cp%04d'%n);out=[dict(path='/',t='d')]
    for d in dirs[1:]:out.append(dict(path=d,t='d'))
    for p,(b,mt) in tree.items():out.append(dict(path=p,t='f',size=len(b),sha=hashlib.sha256(b).hexdigest(),mt=mt*10**9))
    with open(mdir+'/cp%04d.jsonl'%n,'w') as f:
        for r in sorted(out,key=lambda r:r['path']):f.write(json.dumps(r)+'\n')
    n+=1
def put(p,b):
    mt=R.randint(5*10**8,8*10**8)*2
    with tempfile.NamedTemporaryFile(delete=False) as t:t.write(b)
    os.utime(t.name,(mt,mt));m('mcopy','-i',disk,'-m','-o','-D','o',t.name,'::'+p);os.unlink(t.name);tree[p]=(b,mt)
for i in range(3):
    d='/Directory number %d'%i;m('mmd','-i',disk,'::'+d);dirs.append(d)
cp();k=0
for i in range(nops):
    x=R.random();f=R.choice(sorted(tree)) if tree else None
    if x<.4 or not f:
        p=R.choice(dirs)+'/'+R.choice(['file%d','FILE%d.TXT','A long name %d.text','x%d.y','mixedCase%d'])%k;k+=1;put(p,text(R.choice([0,10,200,3000,5000,20000])))
    elif x<.55:put(f,text(R.choice([0,100,3000,9000])))
    elif x<.72:
        q=R.choice(dirs)+'/'+'renamed to %d'%k;k+=1;m('mmove','-i',disk,'::'+f,'::'+q);tree[q]=tree.pop(f)
    elif x<.88:m('mdel','-i',disk,'::'+f);del tree[f]
    elif x<.94 and len(dirs)<10:d=R.choice(dirs)+'/sub%d'%k;k+=1;m('mmd','-i',disk,'::'+d);dirs.append(d)
    elif len(dirs)>5:
        d=R.choice(dirs[4:]);q='/moved dir %d'%k;k+=1;m('mmove','-i',disk,'::'+d,'::'+q)
        fx=lambda p:q+p[len(d):] if p==d or p.startswith(d+'/') else p
        dirs=[fx(p) for p in dirs];tree={fx(p):v for p,v in tree.items()}
    if i%max(1,nops//cps)==nops//cps-1:cp()
