/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the libraries that capture a program share. Each of them (NAME.c here, build/capture/NAME.so) is preloaded into a program that knows nothing of it, by
 * `iog capture`, which puts its settings into the environment. Programs it does not concern inherit it too: a library does nothing until the program does
 * what it is there for.
 *
 * A captured program is never hurt. Nothing here ends it, writes to its stdout, raises a signal, or waits longer than the settings say; what
 * went wrong is in one line on stderr when the program ends. One thread at a time.
 *
 * Environment: IOG_CAPTURE=NAME of the library that is meant (without it, and in all others, nothing is captured), IOG_CAPTURE_STREAM, IOG_CAPTURE_EVERY,
 * IOG_CAPTURE_POLICY, IOG_CAPTURE_TIMEOUT; and IOG_SOCKET.
 */
#ifndef IOG_BINDINGS_CAPTURE_CAPTURE_H
#define IOG_BINDINGS_CAPTURE_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "bindings/c/iograph.h"

/* Each library defines it. */
struct iog_capture_library {
	const char *kind;     /* as IOG_CAPTURE has it */
	void (*finish)(void); /* the program ends: the last that is to be published or noted. NULL: nothing */
};
extern const struct iog_capture_library iog_capture_library __attribute__((visibility("hidden")));

/* True when this process is to be captured by this library. Cheap after the first call. */
bool iog_capture_wanted(void);
/* --stream, or `usual` when none was given. */
const char *iog_capture_name(const char *usual);
/* --every, 1 when none was given. Steps that are no multiple of it are not captured. */
int64_t iog_capture_every(void);

/* The attachment of this process, made at the first call. Never NULL. */
iog *iog_capture_io(void);
/* Opens a stream with the policy of the settings; as iog_open, with `usual` options (NULL: none) for what they leave open. It is closed, and counted in the closing line, when the program ends. Never NULL. */
iog_stream *iog_capture_open(const char *name, const char *schema, const char *usual, int rank, int nranks);
/* This stream will not be written any more: closes and counts it. */
void iog_capture_close(iog_stream *s);
/* A step that should have been published and was not, and why: counted, the first reason is in the closing line. */
__attribute__((format(printf, 1, 2))) void iog_capture_lost(const char *fmt, ...);
/* Something the closing line has to say when nothing else went wrong first. */
__attribute__((format(printf, 1, 2))) void iog_capture_note(const char *fmt, ...);
/* The definition of a symbol behind ours, which what is interposed calls; NULL when the program has none. */
void *iog_capture_next(const char *symbol);
/* That of a function, as one of its type; looked up when it is first called, which may be before our constructor runs. */
#define IOG_CAPTURE_NEXT(name)                                                                                                             \
	({                                                                                                                                 \
		static __typeof__(&name) next_;                                                                                            \
		__typeof__(next_) n_ = __atomic_load_n(&next_, __ATOMIC_RELAXED);                                                          \
		if (!n_) {                                                                                                                 \
			n_ = (__typeof__(next_))iog_capture_next(#name);                                                                   \
			__atomic_store_n(&next_, n_, __ATOMIC_RELAXED);                                                                    \
		}                                                                                                                          \
		n_;                                                                                                                        \
	})

#endif
