#!/usr/bin/env python3
"""Builds a Linux guest whose memory is full of real files, for trying a migration by hand:
OUT/vmlinuz and OUT/initrd.cpio (newc).

usage: mk-linux-guest.py OUT [--data-mib 320] [--vmlinuz FILE] [--from /usr]
Without --vmlinuz it runs apt-get download of the package that
linux-image-cloud-amd64 depends on and unpacks it with dpkg -x under OUT.
Needs gcc (static libc), busybox-static.  Nothing that it makes is to be committed:
the kernel, busybox and the packed files are Debian's.

qemu-system-x86_64 -m 1G -nodefaults -display none -serial stdio -kernel OUT/vmlinuz \\
  -initrd OUT/initrd.cpio -append 'console=ttyS0 quiet'
"""
import argparse, glob, hashlib, os, shutil, subprocess, sys

ap = argparse.ArgumentParser()
ap.add_argument('out')
ap.add_argument('--data-mib', type=int, default=240)
ap.add_argument('--vmlinuz')
ap.add_argument('--from', dest='src', default='/usr')
a = ap.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
os.makedirs(a.out, exist_ok=True)

vm = a.vmlinuz
if not vm:
    vm = next(iter(sorted(glob.glob(f'{a.out}/k/boot/vmlinuz*'))), None)
if not vm:
    dep = subprocess.run(['apt-cache', 'depends', 'linux-image-cloud-amd64'],
                         capture_output=True, text=True, check=True).stdout
    pkg = next(l.split()[1] for l in dep.splitlines()
               if 'Depends: linux-image' in l)
    subprocess.run(['apt-get', 'download', pkg], cwd=a.out, check=True)
    deb = glob.glob(f'{a.out}/{pkg}*.deb')[0]
    subprocess.run(['dpkg', '-x', deb, f'{a.out}/k'], check=True)
    vm = glob.glob(f'{a.out}/k/boot/vmlinuz*')[0]
shutil.copyfile(vm, f'{a.out}/vmlinuz')
subprocess.run(['gcc', '-O2', '-static', '-Wall', '-o', f'{a.out}/stress',
                f'{here}/stress.c'], check=True)

# ---- choose files: shared libraries 45 %, python 20 %, text 15 %, .gz/.xz 20 %
def kind(p):
    b = os.path.basename(p)
    if b.endswith(('.gz', '.xz', '.zst', '.whl', '.png', '.jpg')): return 'z'
    if b.endswith(('.py', '.pyc', '.pyi')): return 'py'
    if '.so' in b or '/bin/' in p: return 'so'
    if b.endswith(('.txt', '.h', '.pl', '.pm', '.js', '.json', '.html', '.md',
                   '.c', '.conf', '.xml')): return 'txt'
want = {'so': .45, 'py': .20, 'txt': .15, 'z': .20}
left = {k: int(v * a.data_mib * 2**20) for k, v in want.items()}
total = a.data_mib * 2**20
cand = {k: [] for k in want}
for d, ds, fs in os.walk(a.src):
    ds.sort()
    for f in fs:
        p = os.path.join(d, f)
        k = kind(p)
        if not k or os.path.islink(p) or not os.path.isfile(p): continue
        n = os.path.getsize(p)
        if 6000 <= n <= 48 << 20: cand[k].append((hashlib.md5(p.encode()).digest(), p, n))
chosen = []
got = {k: 0 for k in want}
for k in want:
    for h, p, n in sorted(cand[k]):
        if got[k] + n <= left[k]:
            chosen.append((k, p)); got[k] += n
short = total - sum(got.values())
rest = sorted((h, p, n) for k in want for h, p, n in cand[k] if (k, p) not in set(chosen)) if short > 4 << 20 else []
for h, p, n in rest:
    if n <= short:
        chosen.append((kind(p), p)); got[kind(p)] += n; short -= n
print('data MiB:', {k: round(v / 2**20, 1) for k, v in got.items()}, file=sys.stderr)

out = open(f'{a.out}/initrd.cpio', 'wb')
ino = 0
def ent(name, mode, data=b'', rdev=(0, 0)):
    global ino
    ino += 1
    nm = name.encode() + b'\0'
    f = [ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(nm), 0]
    h = b'070701' + b''.join(b'%08X' % x for x in f) + nm
    out.write(h + b'\0' * (-len(h) % 4) + data + b'\0' * (-len(data) % 4))
for d in ('bin', 'dev', 'proc', 'sys', 'data', 'tmp'):
    ent(d, 0o40755)
ent('dev/console', 0o20600, rdev=(5, 1))
ent('dev/ttyS0', 0o20600, rdev=(4, 64))
ent('bin/busybox', 0o100755, open('/bin/busybox', 'rb').read())
ent('stress', 0o100755, open(f'{a.out}/stress', 'rb').read())
ent('init', 0o100755, open(f'{here}/init', 'rb').read())
sums = []
for i, (k, p) in enumerate(chosen):
    b = open(p, 'rb').read()
    n = f'{k}{i:05d}'
    ent('data/' + n, 0o100644, b)
    sums.append(f'{hashlib.sha256(b).hexdigest()}  {n}\n')
ent('data.sha256', 0o100644, ''.join(sums).encode())
ent('TRAILER!!!', 0)
out.close()
print(f'{len(chosen)} files, initrd {os.path.getsize(a.out + "/initrd.cpio") >> 20} MiB', file=sys.stderr)
