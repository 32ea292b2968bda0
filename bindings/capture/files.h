/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the libraries that capture files share (mpiio.c, stdio.c): which files are meant, and how what a program writes into them becomes records.
 *
 * IOG_CAPTURE_FILES, "PATTERN[=STREAM]" separated by colons, says which files go to which stream: a pattern with a slash is compared with the
 * absolute path, another one with the last part of it. One stream takes any number of files. A record is pieces of one file:
 *
 *     path    the file, relative to where the program was started when it lies below that, else absolute
 *     size    -1, or what the file's size is set to before the pieces are written: 0 for one that is begun anew
 *     offset, length   of each piece in the file
 *     data    the bytes of all pieces, one after the other
 *
 * Pieces of several ranks are records of their own (ranks=apart of iog_open): ranks write different amounts, some nothing at all, and none may wait for
 * another while that one waits for it in MPI. Steps are time stamps, so that what was written before a barrier comes before what is
 * written behind it.
 *
 * A stream that did not take a record in time, or lost its agent, is given up for the rest of the program: a file with a hole is no copy. From then
 * on the program waits for nothing, and the closing line says what is missing.
 *
 * Any thread: a lock around everything. Nothing is captured in a child of fork(), in a signal handler that interrupts a capture, nor by our own calls.
 */
#ifndef IOG_BINDINGS_CAPTURE_FILES_H
#define IOG_BINDINGS_CAPTURE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An option of these streams: memory for the 17 records that every stream takes and for 32, which hold 8 MiB. */
#define IOG_CFILE_MEMORY "bytes=16MiB"
/* One kind of record for everything that is a file: so one stream can have all of them. */
#define IOG_CFILE_SCHEMA "path: u8[char<=1024]; size: i64; offset: i64[piece<=4096]; length: i64[piece<=4096]; data: u8[byte<=262144]"
enum { IOG_CFILE_PATH = 1024, IOG_CFILE_PIECES = 4096, IOG_CFILE_BYTES = 262144 };

struct iog_cfile; /* a file that is captured, while the program has it open */
struct iog_piece {
	int64_t offset, length;
};

/* Reads the settings and, where a launcher started this process as one rank of several, opens the streams, so that the agent knows how many there are.
 * `usual`: the patterns when none are given; NULL: nothing is captured then. Call it once, before everything else. */
void iog_cfile_begin(const char *usual);
/* The file of that name is opened for writing; `fresh`: what was in it is gone. NULL: it is not captured. */
struct iog_cfile *iog_cfile_open(const char *path, bool fresh);
/* One more that has it, and closes it. */
void iog_cfile_keep(struct iog_cfile *f);
void iog_cfile_close(struct iog_cfile *f);
/* Publishes n pieces, whose bytes lie one after the other at data. False: some were not. */
bool iog_cfile_write(struct iog_cfile *f, const struct iog_piece *piece, size_t n, const void *data);
bool iog_cfile_resize(struct iog_cfile *f, int64_t size);
/* The program writes what cannot be seen: said in the closing line, and the stream is given up. */
void iog_cfile_missed(struct iog_cfile *f, const char *what);
/* Its stream was: nothing more can be published, and what that would cost is saved. */
bool iog_cfile_given_up(const struct iog_cfile *f);
/* IOG_CAPTURE_FILE=drop: what was published is not written to the file. */
bool iog_cfile_drops(void);
/* For one file: what its users have to do together. Recursive. */
void iog_cfile_lock(struct iog_cfile *f);
void iog_cfile_unlock(struct iog_cfile *f);
/* True while this thread is inside a capture, so that what it calls is ours, and in a child of fork(): nothing is captured. */
bool iog_cfile_inside(void);
/* The program ends. */
void iog_cfile_finish(void);

#endif
