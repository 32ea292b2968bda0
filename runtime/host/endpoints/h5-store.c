/* SPDX-License-Identifier: BSD-3-Clause */
/* See h5-store.h. The order of writes is that of soft updates (Ganger, McKusick, Soules, Patt, 2000). Runs on the caller's thread. */
#include "runtime/host/endpoints/h5-store.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUPERBLOCK = 48, PAGE = 4096 };

struct pending {
	haddr_t addr;
	size_t size;
	uint8_t *data;
	int rank; /* when in a commit it is written */
};

/* The library's handle comes first: it gives back a pointer to it. */
struct iog_h5_store {
	H5FD_t handle;
	int fd;
	haddr_t eoa, size, committed; /* end of what is allocated; of the file; of what was allocated at the last commit */
	haddr_t last;
	struct pending *pending;
	size_t n_pending, room;
	uint8_t super[SUPERBLOCK]; /* the newest image the library wrote */
	bool frozen, in_library;   /* in_library: the library holds a handle */
	bool found;                /* the file was there: what a crash left may have to be mended */
	int error;
	dev_t dev;
	ino_t ino;
};

static int note(struct iog_h5_store *s, int e)
{
	if (e < 0 && !s->error)
		s->error = e;
	return e < 0 ? -1 : 0;
}

/* ---- the driver ---- */

static struct iog_h5_store *of(const H5FD_t *f) { return (struct iog_h5_store *)(uintptr_t)f; }

static int sort_pending(const void *a, const void *b)
{
	const struct pending *x = a, *y = b;
	return x->rank != y->rank ? x->rank - y->rank : x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Jenkins' lookup3 over bytes (public domain), which the format uses as its checksum of metadata. */
static uint32_t rot(uint32_t x, unsigned k) { return x << k | x >> (32 - k); }
static uint32_t lookup3(const uint8_t *k, size_t n)
{
	uint32_t a = 0xdeadbeef + (uint32_t)n, b = a, c = a, w[3];
	for (; n > 12; n -= 12, k += 12) {
		memcpy(w, k, 12);
		a += w[0], b += w[1], c += w[2];
		a -= c, a ^= rot(c, 4), c += b;
		b -= a, b ^= rot(a, 6), a += c;
		c -= b, c ^= rot(b, 8), b += a;
		a -= c, a ^= rot(c, 16), c += b;
		b -= a, b ^= rot(a, 19), a += c;
		c -= b, c ^= rot(b, 4), b += a;
	}
	if (!n)
		return c;
	memset(w, 0, sizeof w);
	memcpy(w, k, n);
	a += w[0], b += w[1], c += w[2];
	c ^= b, c -= rot(b, 14);
	a ^= c, a -= rot(c, 11);
	b ^= a, b -= rot(a, 25);
	c ^= b, c -= rot(b, 16);
	a ^= c, a -= rot(c, 4);
	b ^= a, b -= rot(a, 14);
	c ^= b, c -= rot(b, 24);
	return c;
}

/* Version 3: end of file at byte 28, flags at byte 11, checksum behind 44 bytes. */
static int write_super(struct iog_h5_store *s)
{
	uint8_t b[SUPERBLOCK];
	uint64_t end = s->eoa;
	memcpy(b, s->super, sizeof b);
	b[11] = 0;
	memcpy(b + 28, &end, sizeof end);
	uint32_t sum = lookup3(b, SUPERBLOCK - 4);
	memcpy(b + SUPERBLOCK - 4, &sum, sizeof sum);
	return iog_write_at(s->fd, b, sizeof b, 0);
}

static void drop_pending(struct iog_h5_store *s)
{
	for (size_t i = 0; i < s->n_pending; i++)
		free(s->pending[i].data);
	s->n_pending = 0;
}

/* Everything written so far is on the disk before anything that is written later. */
static int barrier(const struct iog_h5_store *s, bool sync) { return sync && fdatasync(s->fd) < 0 ? -errno : 0; }

static int commit(struct iog_h5_store *s, bool sync)
{
	enum { NEW, INDEX, HEADER, LAST };
	size_t i = 0;
	int r = 0;
	if (s->frozen || s->error)
		return s->error ? s->error : -EIO;
	if (!s->n_pending && s->eoa == s->committed)
		return note(s, barrier(s, sync)) ? s->error : 0;
	for (size_t k = 0; k < s->n_pending; k++) {
		struct pending *p = &s->pending[k];
		bool header = p->size >= 4 && !memcmp(p->data, "OHDR", 4);
		p->rank = p->addr >= s->committed ? NEW : !header ? INDEX : p->addr == s->last ? LAST : HEADER;
	}
	if (s->n_pending)
		qsort(s->pending, s->n_pending, sizeof *s->pending, sort_pending);
	for (; !r && i < s->n_pending && s->pending[i].rank == NEW; i++) {
		r = iog_write_at(s->fd, s->pending[i].data, s->pending[i].size, s->pending[i].addr);
		s->size = IOG_MAX(s->size, s->pending[i].addr + s->pending[i].size);
	}
	/* Readers refuse a file that is shorter than its superblock says. */
	if (!r && s->size < s->eoa) {
		r = ftruncate(s->fd, (off_t)s->eoa) < 0 ? -errno : 0;
		s->size = s->eoa;
	}
	if (!r)
		r = barrier(s, sync);
	if (!r)
		r = write_super(s);
	if (!r)
		r = barrier(s, sync);
	for (; !r && i < s->n_pending; i++) {
		if (s->pending[i].rank == LAST)
			r = barrier(s, sync);
		if (!r)
			r = iog_write_at(s->fd, s->pending[i].data, s->pending[i].size, s->pending[i].addr);
	}
	if (!r)
		r = barrier(s, sync);
	if (r) {
		note(s, r);
		return r;
	}
	drop_pending(s);
	s->committed = s->eoa;
	return 0;
}

static herr_t driver_write(H5FD_t *f, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size, const void *buf)
{
	(void)dxpl;
	struct iog_h5_store *s = of(f);
	if (s->frozen)
		return 0; /* the library must be able to close what can no longer be written */
	if (type == H5FD_MEM_DRAW) {
		int r = iog_write_at(s->fd, buf, size, addr);
		if (!r)
			s->size = IOG_MAX(s->size, addr + size);
		return note(s, r);
	}
	if (addr == 0) {
		memcpy(s->super, buf, IOG_MIN(size, sizeof s->super));
		return 0;
	}
	struct pending *p = NULL;
	for (size_t i = 0; i < s->n_pending && !p; i++)
		if (s->pending[i].addr == addr)
			p = &s->pending[i];
	if (!p) {
		if (s->n_pending == s->room) {
			size_t n = s->room ? 2 * s->room : 64;
			p = realloc(s->pending, n * sizeof *p);
			if (!p)
				return note(s, -ENOMEM);
			s->pending = p, s->room = n;
		}
		p = &s->pending[s->n_pending++];
		*p = (struct pending){ .addr = addr };
	}
	if (size > p->size) {
		uint8_t *d = realloc(p->data, size);
		if (!d)
			return note(s, -ENOMEM);
		p->data = d, p->size = size;
	}
	memcpy(p->data, buf, size);
	return 0;
}

/*
 * A block of an index that is longer than a page can be torn by a crash: some of its pages are older than others. Entries only come to be, so
 * those from before are right in both; one that is new and lies across two pages is made of two halves, which no address is, and
 * is taken back; then the checksum, the last four bytes, is made anew. Known by its signature, or as a page without one, which begins with
 * an entry: an address, or none (all bits set).
 */
static void mend(struct iog_h5_store *s, haddr_t addr, size_t size, uint8_t *block)
{
	enum { PREFIX = 18, FILTERED = 5 /* byte of the prefix */, PAGE_ENTRIES = 1024 };
	uint32_t sum = lookup3(block, size - sizeof sum);
	bool page = (block[0] == 0 || block[0] == 0xff) && size - sizeof sum >= 8 * PAGE_ENTRIES && (size - sizeof sum) % PAGE_ENTRIES == 0;
	if (!memcmp(block + size - sizeof sum, &sum, sizeof sum) || (!page && memcmp(block, "EADB", 4)))
		return;
	/* An entry is an address, of a compressed chunk with its size behind it; a block has 2^n of them. */
	size_t head = page ? 0 : PREFIX, bytes = size - head - sizeof sum, entry = page ? bytes / PAGE_ENTRIES : 8;
	while (!page && block[FILTERED] && entry < 32 && (++entry, bytes % entry || (bytes / entry & (bytes / entry - 1))))
		;
	for (size_t at = head; at + entry <= head + bytes; at += entry) {
		haddr_t to;
		memcpy(&to, block + at, sizeof to);
		if (to != HADDR_UNDEF && (to % IOG_H5_ALIGNMENT || to >= s->eoa))
			memset(block + at, 0, entry), memset(block + at, 0xff, sizeof to);
	}
	sum = lookup3(block, size - sizeof sum);
	memcpy(block + size - sizeof sum, &sum, sizeof sum);
	driver_write(&s->handle, H5FD_MEM_DEFAULT, H5P_DEFAULT, addr, size, block);
}

static herr_t driver_read(H5FD_t *f, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size, void *buf)
{
	(void)dxpl;
	struct iog_h5_store *s = of(f);
	size_t there = addr < s->size ? (size_t)IOG_MIN((haddr_t)size, s->size - addr) : 0;
	memset((uint8_t *)buf + there, 0, size - there);
	if (there && iog_read_at(s->fd, buf, there, addr) < 0)
		return -1;
	if (addr == 0 && s->super[0])
		memcpy(buf, s->super, IOG_MIN(size, sizeof s->super));
	for (size_t i = 0; i < s->n_pending; i++) {
		const struct pending *p = &s->pending[i];
		haddr_t from = IOG_MAX(addr, p->addr), to = IOG_MIN(addr + size, p->addr + p->size);
		if (from < to)
			memcpy((uint8_t *)buf + (from - addr), p->data + (from - p->addr), (size_t)(to - from));
	}
	if (s->found && type != H5FD_MEM_DRAW && size > PAGE && there == size)
		mend(s, addr, size, buf);
	return 0;
}

/* What the library is told to open is this pointer. */
static H5FD_t *driver_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
	(void)name, (void)flags, (void)maxaddr;
	const void *info = H5Pget_driver_info(fapl);
	struct iog_h5_store *s;
	if (!info)
		return NULL;
	memcpy(&s, info, sizeof s);
	if (s->in_library)
		return NULL;
	s->in_library = true;
	return &s->handle;
}

static herr_t driver_close(H5FD_t *f)
{
	of(f)->in_library = false;
	return 0;
}

static int driver_cmp(const H5FD_t *a, const H5FD_t *b)
{
	const struct iog_h5_store *x = of(a), *y = of(b);
	return x->dev != y->dev ? (x->dev < y->dev ? -1 : 1) : x->ino < y->ino ? -1 : x->ino > y->ino;
}

static herr_t driver_query(const H5FD_t *f, unsigned long *flags)
{
	(void)f;
	*flags = 0; /* no aggregation: every block at its own aligned address, every write seen alone */
	return 0;
}

/* Metadata that fits into a page lies in one: a write of it is whole or not there. */
static haddr_t driver_alloc(H5FD_t *f, H5FD_mem_t type, hid_t dxpl, hsize_t size)
{
	(void)dxpl;
	struct iog_h5_store *s = of(f);
	haddr_t unit = IOG_H5_ALIGNMENT;
	while (type != H5FD_MEM_DRAW && unit < size && unit < PAGE)
		unit *= 2;
	haddr_t at = IOG_ROUND_UP(s->eoa, unit);
	s->eoa = IOG_ROUND_UP(at + size, (haddr_t)IOG_H5_ALIGNMENT);
	return at;
}

static haddr_t driver_get_eoa(const H5FD_t *f, H5FD_mem_t type)
{
	(void)type;
	return of(f)->eoa;
}
static herr_t driver_set_eoa(H5FD_t *f, H5FD_mem_t type, haddr_t addr)
{
	(void)type;
	of(f)->eoa = addr;
	return 0;
}
static haddr_t driver_get_eof(const H5FD_t *f, H5FD_mem_t type)
{
	(void)type;
	const struct iog_h5_store *s = of(f);
	return IOG_MAX(s->size, s->eoa);
}

static const H5FD_class_t driver = {
	.name = "iograph",
	.maxaddr = ((haddr_t)1 << 62) - 1,
	.fc_degree = H5F_CLOSE_STRONG,
	.fapl_size = sizeof(struct iog_h5_store *),
	.open = driver_open,
	.close = driver_close,
	.cmp = driver_cmp,
	.query = driver_query,
	.alloc = driver_alloc,
	.get_eoa = driver_get_eoa,
	.set_eoa = driver_set_eoa,
	.get_eof = driver_get_eof,
	.read = driver_read,
	.write = driver_write,
	.fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* ---- the store ---- */

/* Access properties: our driver, latest format, and a metadata cache that writes only when told to. */
static hid_t access_list(struct iog_h5_store *s)
{
	static hid_t id = H5I_INVALID_HID; /* registered once per process; the caller holds the lock on the library */
	H5AC_cache_config_t c = { .version = H5AC__CURR_CACHE_CONFIG_VERSION };
	hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
	if (id < 0 || H5Iis_valid(id) <= 0)
		id = H5FDregister(&driver);
	bool ok = fapl >= 0 && id >= 0 && H5Pset_driver(fapl, id, &s) >= 0 && H5Pset_alignment(fapl, 1, IOG_H5_ALIGNMENT) >= 0 &&
		  H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 && H5Pset_meta_block_size(fapl, 0) >= 0 &&
		  H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) >= 0 && H5Pget_mdc_config(fapl, &c) >= 0;
	c.evictions_enabled = 0;
	c.incr_mode = H5C_incr__off;
	c.flash_incr_mode = H5C_flash_incr__off;
	c.decr_mode = H5C_decr__off;
	if (!ok || H5Pset_mdc_config(fapl, &c) < 0) {
		if (fapl >= 0)
			H5Pclose(fapl);
		return H5I_INVALID_HID;
	}
	return fapl;
}

static void destroy(struct iog_h5_store *s)
{
	drop_pending(s);
	free(s->pending);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

int iog_h5_open(const char *path, bool fresh, struct iog_h5_store **store, hid_t *file, struct iog_err *err)
{
	struct stat st;
	struct flock lock = { .l_type = F_WRLCK };
	struct iog_h5_store *s = calloc(1, sizeof *s);
	if (!s)
		return iog_fail(err, -ENOMEM, "no memory");
	s->last = HADDR_UNDEF;
	s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	int r = s->fd < 0 || fstat(s->fd, &st) < 0 ? iog_fail_open(err, -errno, path) : 0;
	/* Not the kind of lock the HDF5 library takes: readers may come while we write, a second writer may not. */
	if (!r && fcntl(s->fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
		r = iog_fail_open(err, -EBUSY, path);
	if (!r && fresh && ftruncate(s->fd, 0) < 0)
		r = iog_fail_write(err, -errno, path);
	static const uint8_t signature[9] = { 0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n', 3 };
	if (!r && !fresh && (iog_read_at(s->fd, s->super, SUPERBLOCK, 0) < 0 || memcmp(s->super, signature, sizeof signature)))
		r = iog_fail(err, -EEXIST,
			"%s exists and is no file of this sink; use another path, or on_restart = \"truncate\" to replace it", path);
	if (r) {
		destroy(s);
		return r;
	}
	s->dev = st.st_dev, s->ino = st.st_ino;
	s->size = fresh ? 0 : (haddr_t)st.st_size;
	s->found = !fresh;
	hid_t fapl = access_list(s);
	*file = fapl < 0 ? fapl : fresh ? H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl) : H5Fopen(path, H5F_ACC_RDWR, fapl);
	if (fapl >= 0)
		H5Pclose(fapl);
	if (*file < 0) {
		s->frozen = true;
		if (s->error)
			r = iog_fail_write(err, s->error, path);
		else if (fapl < 0 || fresh)
			r = iog_fail(err, -ENOTSUP, "the HDF5 library of this machine cannot make %s as this sink needs it", path);
		else
			r = iog_fail(err, -EBADMSG,
				"%s is damaged: the HDF5 library does not open it; use another path, or on_restart = \"truncate\" "
				"to replace it",
				path);
		destroy(s);
		return r;
	}
	s->committed = fresh ? 0 : s->eoa;
	*store = s;
	return 0;
}

void iog_h5_last(struct iog_h5_store *s, haddr_t header) { s->last = header; }

int iog_h5_commit(struct iog_h5_store *s, hid_t file, bool sync)
{
	if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
		return s->error ? s->error : -EIO;
	return commit(s, sync);
}

int iog_h5_error(struct iog_h5_store *s)
{
	int e = s->error;
	s->error = 0;
	return e;
}

void iog_h5_freeze(struct iog_h5_store *s) { s->frozen = true; }

int iog_h5_close(struct iog_h5_store *s, hid_t file)
{
	int r = 0;
	if (!s->frozen && (r = iog_h5_commit(s, file, false)) < 0)
		s->frozen = true;
	/* Closing writes the superblock once more, and whatever it finds dirty. */
	if (H5Fclose(file) < 0 && !r)
		r = s->error ? s->error : -EIO;
	if (!s->frozen && !r) {
		r = commit(s, false);
		if (!r && s->size > s->eoa && ftruncate(s->fd, (off_t)s->eoa) < 0)
			r = -errno;
	}
	if (s->in_library) /* a library that could not close keeps using the handle: better lost than freed under it */
		return r ? r : -EBUSY;
	destroy(s);
	return r;
}
