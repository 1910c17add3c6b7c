// SPDX-License-Identifier: GPL-2.0
/*
 * What is asked of one block device, with the payload of writes, from the block
 * layer's queue tracepoint and from the end of each request. Nothing here ever
 * waits: what does not fit the ring is dropped, counted, and the part of the disk
 * it touched is marked in a bitmap, from which user space learns what to read
 * again.
 *
 * Structures carry only the fields used; CO-RE relocates them. Kernel sources
 * cited are of Linux 6.1.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define core __attribute__((preserve_access_index))

struct page {
	unsigned long flags;
} core;

struct block_device {
	__u64 bd_start_sect;
	__u32 bd_dev;
} core;

struct bvec_iter {
	__u64 bi_sector;
	unsigned int bi_size;
	unsigned int bi_idx;
	unsigned int bi_bvec_done;
} core;

struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
} core;

struct request_queue;

typedef struct {
	int counter;
} atomic_t;

struct bio {
	struct block_device *bi_bdev;
	unsigned int bi_opf;
	__u8 bi_status;
	atomic_t __bi_remaining;
	struct bvec_iter bi_iter;
	void *bi_private;
	struct bio_vec *bi_io_vec;
} core;

/* Their values have moved between kernels: CO-RE looks them up by name. */
enum req_op {
	REQ_OP_READ = 0,
	REQ_OP_WRITE = 1,
	REQ_OP_FLUSH = 2,
	REQ_OP_DISCARD = 3,
	REQ_OP_SECURE_ERASE = 5,
	REQ_OP_WRITE_ZEROES = 9,
};

enum req_flag_bits {
	__REQ_SYNC = 11,
	__REQ_META = 12,
	__REQ_FUA = 17,
	__REQ_PREFLUSH = 18,
};

#define OP_MASK 0xff /* REQ_OP_MASK, include/linux/blk_types.h */

/* Operations as the tape names them (format.DiskOp). */
enum { OP_READ, OP_WRITE, OP_FLUSH, OP_DISCARD, OP_WRITE_ZEROES, OP_SECURE_ERASE, OP_OTHER = 255 };

/* Flags of an event. */
enum { F_FUA = 1, F_PREFLUSH = 2, F_SYNC = 4, F_META = 8 };

/* Kinds of event. */
enum { EV_REQUEST = 1, EV_PAYLOAD = 2, EV_COMPLETION = 3 };

#define PIECE 4096
/* Most pieces of one request whose payload is taken: 16 MiB. */
#define MAX_PIECES 4096
#define CHUNK_SHIFT 11 /* sectors of a 1 MiB chunk */
/* What a request begun before us may have covered, either side of where it ended. */
#define ORPHAN_CHUNKS 1

struct event {
	__u64 time;	/* CLOCK_MONOTONIC, ns */
	__u64 id;	/* of the request; never used twice */
	__u64 sector;	/* from the start of the device watched; of a payload: bytes into the request */
	__u32 bytes;	/* of the request; of a payload: of its piece */
	__u16 kind;
	__u8 op;
	__u8 flags;	/* of a completion: blk_status_t */
	__u32 cpu;
	__u32 pid;
};

struct payload {
	struct event head;
	__u8 data[PIECE];
};

/* A request between its two events. */
struct flight {
	__u64 id;
	__u64 sector;
	__u32 bytes;
	__u8 op;
	__u8 dropped;
	__u16 pad;
};

/* Counters, by index of the map counters. */
enum { C_REQUESTS, C_DROPPED, C_COMPLETIONS_DROPPED, C_UNREADABLE, C_ORPHANS, C_LAST_ID, C_COUNT };

const volatile __u32 want_dev;	   /* MKDEV of the kernel: major << 20 | minor */
const volatile __u64 vmemmap_at;   /* address of vmemmap_base, or 0 */
const volatile __u64 vmemmap_is;   /* its value where it is no variable */
const volatile __u64 direct_at;	   /* address of page_offset_base, or 0 */
const volatile __u64 direct_is;
const volatile __u64 last_chunk;   /* of the bitmap */
const volatile __u8 want_reads;	   /* report reads */
const volatile __u32 recorder;	   /* process whose reads are not reported: our own */
__u64 next_id = 1;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set by the loader */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct flight);
} flights SEC(".maps");

/* One bit a chunk: something that touched it is not, or not wholly, in the ring. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} touched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, C_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *v = bpf_map_lookup_elem(&counters, &which);

	if (v)
		__sync_fetch_and_add(v, 1);
}

struct marking {
	__u64 chunk, last;
};

static long mark_one(__u32 i, struct marking *m)
{
	__u32 word;
	__u64 *bits;

	if (m->chunk > m->last || m->chunk > last_chunk)
		return 1;
	word = m->chunk >> 6;
	bits = bpf_map_lookup_elem(&touched, &word);
	if (bits)
		__sync_fetch_and_or(bits, 1ULL << (m->chunk & 63));
	m->chunk++;
	return 0;
}

/* Marks the chunks of a range of sectors. A discard may cover the whole disk. */
static __always_inline void mark(__u64 sector, __u64 sectors)
{
	struct marking m = {
		.chunk = sector >> CHUNK_SHIFT,
		.last = (sector + (sectors ? sectors - 1 : 0)) >> CHUNK_SHIFT,
	};

	bpf_loop(1 << 22, mark_one, &m, 0);
}

static __always_inline __u8 operation(struct bio *bio, __u32 opf, __u32 bytes)
{
	__u32 op = opf & OP_MASK;

	if (op == bpf_core_enum_value(enum req_op, REQ_OP_READ))
		return OP_READ;
	if (op == bpf_core_enum_value(enum req_op, REQ_OP_WRITE))
		return bytes ? OP_WRITE : OP_FLUSH; /* an empty write is there for its PREFLUSH */
	if (op == bpf_core_enum_value(enum req_op, REQ_OP_FLUSH))
		return OP_FLUSH;
	if (op == bpf_core_enum_value(enum req_op, REQ_OP_DISCARD))
		return OP_DISCARD;
	if (op == bpf_core_enum_value(enum req_op, REQ_OP_SECURE_ERASE))
		return OP_SECURE_ERASE;
	if (op == bpf_core_enum_value(enum req_op, REQ_OP_WRITE_ZEROES))
		return OP_WRITE_ZEROES;
	return OP_OTHER;
}

static __always_inline __u8 flags(__u32 opf)
{
	__u8 f = 0;

	if (opf >> bpf_core_enum_value(enum req_flag_bits, __REQ_FUA) & 1)
		f |= F_FUA;
	if (opf >> bpf_core_enum_value(enum req_flag_bits, __REQ_PREFLUSH) & 1)
		f |= F_PREFLUSH;
	if (opf >> bpf_core_enum_value(enum req_flag_bits, __REQ_SYNC) & 1)
		f |= F_SYNC;
	if (opf >> bpf_core_enum_value(enum req_flag_bits, __REQ_META) & 1)
		f |= F_META;
	return f;
}

/* Copies one request's payload, a piece of a page at a time. */
struct copying {
	__u64 vec; /* struct bio_vec *, as a number: the verifier forbids sums with the pointer */
	__u64 vmemmap, direct;
	__u64 id;
	__u32 index, done, left, at;
	__u8 failed;
};

static long copy_piece(__u32 i, struct copying *c)
{
	struct bio_vec *vec;
	struct payload *p;
	__u64 page, from;
	__u32 off, len, bv_len;
	long err;

	if (!c->left)
		return 1;
	c->failed = 1;
	vec = (void *)(c->vec + (__u64)c->index * bpf_core_type_size(struct bio_vec));
	if (bpf_probe_read_kernel(&page, sizeof(page), __builtin_preserve_access_index(&vec->bv_page)) ||
	    bpf_probe_read_kernel(&bv_len, sizeof(bv_len), __builtin_preserve_access_index(&vec->bv_len)) ||
	    bpf_probe_read_kernel(&off, sizeof(off), __builtin_preserve_access_index(&vec->bv_offset)))
		return 1;
	/* A vector may span pages: physically contiguous ones, so also in vmemmap. */
	off += c->done;
	len = bv_len - c->done;
	if (len > c->left)
		len = c->left;
	page += (__u64)(off >> 12) * bpf_core_type_size(struct page);
	off &= PIECE - 1;
	if (len > PIECE - off)
		len = PIECE - off;
	if (!len || len > PIECE)
		return 1;
	from = (page - c->vmemmap) / bpf_core_type_size(struct page) * PIECE + c->direct + off;

	p = bpf_ringbuf_reserve(&events, sizeof(*p), 0);
	if (!p)
		return 1;
	p->head.time = 0;
	p->head.id = c->id;
	p->head.sector = c->at;
	p->head.bytes = len;
	p->head.kind = EV_PAYLOAD;
	p->head.op = 0;
	p->head.flags = 0;
	p->head.cpu = 0;
	p->head.pid = 0;
	if (len == PIECE) {
		err = bpf_probe_read_kernel(p->data, PIECE, (void *)from);
	} else {
		__u32 n = len;

		asm volatile("%0 &= 4095" : "+r"(n)); /* the verifier's bound */
		err = bpf_probe_read_kernel(p->data, n, (void *)from);
	}
	if (err) {
		bpf_ringbuf_discard(p, BPF_RB_NO_WAKEUP);
		count(C_UNREADABLE);
		return 1;
	}
	c->left -= len;
	c->done += len;
	c->at += len;
	if (c->done >= bv_len) {
		c->index++;
		c->done = 0;
	}
	c->failed = 0;
	bpf_ringbuf_submit(p, c->left ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
	return 0;
}

static __always_inline __u64 kernel_variable(__u64 at, __u64 otherwise)
{
	__u64 v = otherwise;

	if (at)
		bpf_probe_read_kernel(&v, sizeof(v), (void *)at);
	return v;
}

static __always_inline int emit(__u64 id, __u64 sector, __u32 bytes, __u16 kind, __u8 op, __u8 flag, __u64 wake)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -1;
	e->time = bpf_ktime_get_ns();
	e->id = id;
	e->sector = sector;
	e->bytes = bytes;
	e->kind = kind;
	e->op = op;
	e->flags = flag;
	e->cpu = bpf_get_smp_processor_id();
	e->pid = bpf_get_current_pid_tgid();
	bpf_ringbuf_submit(e, wake);
	return 0;
}

/* submit_bio_noacct_nocheck, block/blk-core.c: once for each bio, after the remap
 * of a partition, before any split. */
SEC("tp_btf/block_bio_queue")
int BPF_PROG(queue, struct bio *bio)
{
	struct block_device *dev = bio->bi_bdev;
	__u32 opf, bytes;
	__u64 sector, key = (__u64)bio;
	struct flight f = {};
	__u8 op, lost;

	if (dev->bd_dev != want_dev)
		return 0;
	opf = bio->bi_opf;
	bytes = bio->bi_iter.bi_size;
	op = operation(bio, opf, bytes);
	if (op == OP_READ && (!want_reads || bpf_get_current_pid_tgid() >> 32 == recorder))
		return 0;
	sector = bio->bi_iter.bi_sector - dev->bd_start_sect;
	f.id = __sync_fetch_and_add(&next_id, 1);
	f.sector = sector;
	f.bytes = bytes;
	f.op = op;
	count(C_REQUESTS);

	/* The header tells that the request is there; without it nothing of it is of use. */
	lost = emit(f.id, sector, bytes, EV_REQUEST, op, flags(opf),
		    op == OP_WRITE ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP) != 0;
	if (!lost && op == OP_WRITE) {
		struct copying c = {
			.vmemmap = kernel_variable(vmemmap_at, vmemmap_is),
			.direct = kernel_variable(direct_at, direct_is),
			.id = f.id,
			.index = bio->bi_iter.bi_idx,
			.done = bio->bi_iter.bi_bvec_done,
			.left = bytes,
		};

		if (!bpf_core_read(&c.vec, sizeof(c.vec), &bio->bi_io_vec))
			bpf_loop(MAX_PIECES, copy_piece, &c, 0);
		lost = c.failed || c.left;
	}
	if (lost)
		count(C_DROPPED);
	if (lost && op != OP_READ && op != OP_FLUSH) {
		f.dropped = 1;
		mark(sector, (bytes + 511) >> 9);
	}
	bpf_map_update_elem(&flights, &key, &f, BPF_ANY);
	return 0;
}

/* The end of a request that was seen. If something of it is missing, its chunks
 * are marked again: only now does the device hold what it wrote. */
static __always_inline void complete(__u64 key, struct flight *f, __u8 status)
{
	int lost = emit(f->id, f->sector, f->bytes, EV_COMPLETION, f->op, status, BPF_RB_FORCE_WAKEUP);

	if (lost)
		count(C_COMPLETIONS_DROPPED);
	if ((lost || f->dropped) && f->op != OP_READ && f->op != OP_FLUSH)
		mark(f->sector, (f->bytes + 511) >> 9);
	bpf_map_delete_elem(&flights, &key);
}

/* A write that began before we watched: where it ended is known, not how long it was. */
static __always_inline void orphan(struct bio *bio, struct block_device *dev)
{
	__u8 op = operation(bio, bio->bi_opf, 1);
	__u64 sector = bio->bi_iter.bi_sector - dev->bd_start_sect;
	__u64 around = ORPHAN_CHUNKS << CHUNK_SHIFT;

	if (op == OP_READ || op == OP_FLUSH || op == OP_OTHER)
		return;
	count(C_ORPHANS);
	mark(sector > around ? sector - around : 0, 2 * around);
}

/* xen-blkback's end of each bio it submitted, whatever the device behind it. */
SEC("fentry/end_block_io_op")
int BPF_PROG(end_blkback, struct bio *bio)
{
	struct block_device *dev = bio->bi_bdev;
	__u64 key = (__u64)bio;
	struct flight *f;

	if (dev->bd_dev != want_dev)
		return 0;
	f = bpf_map_lookup_elem(&flights, &key);
	if (f)
		complete(key, f, bio->bi_status);
	else
		orphan(bio, dev);
	return 0;
}

/* Devices that take bios as they are (device mapper, zram, brd), under any
 * backend: block/bio.c traces the end of what block_bio_queue traced. */
SEC("tp_btf/block_bio_complete")
int BPF_PROG(end_bio, struct request_queue *q, struct bio *bio)
{
	struct block_device *dev = bio->bi_bdev;
	__u64 key = (__u64)bio;
	struct flight *f;

	if (dev->bd_dev != want_dev)
		return 0;
	f = bpf_map_lookup_elem(&flights, &key);
	if (f)
		complete(key, f, bio->bi_status);
	return 0;
}

/* Devices with a request queue, under other backends: the end of any bio. Pieces of a
 * split bio end here on their own, chained to it by bi_private; the bio itself
 * ends with the last of them, inside the loop of bio_endio (block/bio.c). */
SEC("fentry/bio_endio")
int BPF_PROG(end_any, struct bio *bio)
{
	struct block_device *dev = bio->bi_bdev;
	__u64 key = (__u64)bio;
	struct flight *f;
	struct bio *parent;
	int remaining;

	if (!dev || dev->bd_dev != want_dev)
		return 0;
	if (bio->__bi_remaining.counter > 1)
		return 0;
	f = bpf_map_lookup_elem(&flights, &key);
	if (f) {
		complete(key, f, bio->bi_status);
		return 0;
	}
	parent = bio->bi_private;
	key = (__u64)parent;
	f = bpf_map_lookup_elem(&flights, &key);
	if (f) {
		if (!bpf_core_read(&remaining, sizeof(remaining), &parent->__bi_remaining.counter) && remaining <= 1)
			complete(key, f, bio->bi_status);
		return 0;
	}
	orphan(bio, dev);
	return 0;
}
