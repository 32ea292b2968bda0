/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An HDF5 file that is readable at every moment, whoever is killed when: a virtual file driver under the HDF5 library that writes raw
 * data at once and keeps metadata in memory until a commit, then writes it in an order in which every prefix is a valid file:
 *
 *   1. blocks at new addresses (nothing refers to them yet), 2. the superblock with the new end of file, 3. blocks of chunk indices in
 *   place (extensible arrays only ever gain entries), 4. object headers in place (a dataset gets its new extent here), one chosen last.
 *
 * It asks for: latest format, so that indices are extensible arrays; all objects and attributes made before the first commit that
 * counts; afterwards datasets only grow along one unlimited dimension. The superblock is never marked "open for writing", so readers need no
 * h5clear.
 *
 * A kill does not tear a write within one page, and blocks of up to 4 KiB lie in one. Longer ones are those parts of an index that are
 * made when a dataset has more than 8000 chunks; a kill between two pages of such a write leaves a wrong checksum. The records of that
 * block cannot be read then until the file is opened here again and the next record is committed, which mends it; nothing is lost.
 *
 * With sync there is an fdatasync after 1, after 2, before the last header and at the end: whatever a power failure leaves of the writes
 * between two of them, what was committed with sync before is there (4 KiB are assumed to be written whole by the disk). Commits without
 * sync in between void that: they are not ordered on the disk.
 *
 * Every single moment is whole; a reader beside a running writer reads at several moments and the library may then refuse ("truncated
 * file": it asks for the length once, before it reads the superblock): it opens the file again.
 * One thread per object.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_H5_STORE_H
#define IOG_RUNTIME_HOST_ENDPOINTS_H5_STORE_H

#include "core/base.h"

#ifdef IOG_HAVE_HDF5
#include <hdf5.h>

struct iog_h5_store;

/* Of everything that is placed in the file, in bytes. */
enum { IOG_H5_ALIGNMENT = 1024 };

/* Makes a new file (fresh; what was there is gone) or opens an existing one for writing. The file identifier is to be closed by
 * iog_h5_close. 0 or -errno with a message naming path. */
int iog_h5_open(const char *path, bool fresh, struct iog_h5_store **store, hid_t *file, struct iog_err *err);
/* Address of the object header that is written last: the dataset whose extent says how many records there are. */
void iog_h5_last(struct iog_h5_store *s, haddr_t header);
/* Flushes the library and makes everything so far visible; with sync also durable. 0 or -errno of the failed write. */
int iog_h5_commit(struct iog_h5_store *s, hid_t file, bool sync);
/* The error of the first failed write since the last call, as -errno; 0: none. */
int iog_h5_error(struct iog_h5_store *s);
/* From now on nothing is written any more: the file stays as it is. */
void iog_h5_freeze(struct iog_h5_store *s);
/* Commits unless frozen (not durably), closes, frees. 0 or -errno. */
int iog_h5_close(struct iog_h5_store *s, hid_t file);

#endif
#endif
