/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ground everything stands on: limits, element types, step codes, error text, parsing and formatting without libc.
 * Nothing here allocates, blocks or keeps state, so all of it also runs in the guest of a sidecore VM.
 */
#ifndef IOG_CORE_BASE_H
#define IOG_CORE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* For C++ only: linkage, and the words of C17 that g++ does not have. Members that are atomic are not for programs in C++; their layout is. */
#ifdef __cplusplus
#define IOG_C_BEGIN extern "C" {
#define IOG_C_END   }
#ifndef __clang__
#define _Static_assert static_assert
#define _Alignas alignas
#define _Atomic
#endif
#else
#define IOG_C_BEGIN
#define IOG_C_END
#endif

IOG_C_BEGIN

enum {
	IOG_RANK = 8,   /* dimensions of a variable, at most */
	IOG_NAME = 32,  /* bytes of a name with its NUL */
	IOG_DIMS = 16,  /* dimensions of a schema */
	IOG_VARS = 64,  /* variables of a schema */
	IOG_PORTS = 8,  /* inputs or outputs of an operator */
	IOG_CODECS = 4, /* encodings stacked on one variable */
	IOG_ALIGN = 64, /* bytes: alignment of payload and of shared structures */
	IOG_TEXT = 256, /* bytes of a string parameter (an expression, a path) with its NUL */
};

enum iog_dtype {
	IOG_NONE,
	IOG_I8,
	IOG_I16,
	IOG_I32,
	IOG_I64,
	IOG_U8,
	IOG_U16,
	IOG_U32,
	IOG_U64,
	IOG_F16,
	IOG_F32,
	IOG_F64,
	IOG_C64,
	IOG_C128,
	IOG_BOOL,
	IOG_BYTE,
	IOG_DTYPES
};

/* What one call on the data path came to. Anything but IOG_OK is counted where it happens. */
enum iog_step {
	IOG_OK,        /* the outputs are filled */
	IOG_ELIDE,     /* nothing to say for this record: it ends here, and those who wait for it are told */
	IOG_HOLD,      /* not decided: the input may still be sent while it is in the window (iog_need.window) */
	IOG_BAD_INPUT, /* the record breaks a rule of this operator: elided and counted */
	IOG_NO_SPACE,  /* the output did not fit: a bug if the space was out_max */
	IOG_FAILED,    /* this record could not be processed: elided and counted */
	IOG_FATAL,     /* the operator cannot go on: its stage ends */
	IOG_STEPS
};

/* Encodings. A variable with an opaque one carries bytes; its declared type and shape are those after decoding. */
enum iog_codec { IOG_CODEC_NONE, IOG_CODEC_ZSTD, IOG_CODEC_JPEG, IOG_CODEC_PNG, IOG_CODEC_DELTA, IOG_CODEC_COUNT };
static inline bool iog_codec_opaque(unsigned c) { return c == IOG_CODEC_ZSTD || c == IOG_CODEC_JPEG || c == IOG_CODEC_PNG; }

/* One sentence about what went wrong, where, and what to do. Empty: nothing went wrong. */
struct iog_err {
	char text[512];
};

#define IOG_MIN(a, b)      ((a) < (b) ? (a) : (b))
#define IOG_MAX(a, b)      ((a) > (b) ? (a) : (b))
#define IOG_ROUND_UP(n, a) (((n) + ((a)-1)) & ~(uint64_t)((a)-1))
#define IOG_COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define iog_likely(x)      __builtin_expect(!!(x), 1)
#define iog_unlikely(x)    __builtin_expect(!!(x), 0)

/* Bytes of one element, 0 for IOG_NONE and unknown types. */
uint32_t iog_dtype_size(unsigned dtype);
/* "f32"; "?" for unknown types. */
const char *iog_dtype_name(unsigned dtype);
/* The type called name[0..len), IOG_NONE when there is none. */
enum iog_dtype iog_dtype_find(const char *name, size_t len);
const char *iog_step_name(unsigned step);
const char *iog_codec_name(unsigned codec);

/* Overflow-checked size arithmetic: false when the true result does not fit. */
static inline bool iog_mul(uint64_t a, uint64_t b, uint64_t *r) { return !__builtin_mul_overflow(a, b, r); }
static inline bool iog_add(uint64_t a, uint64_t b, uint64_t *r) { return !__builtin_add_overflow(a, b, r); }

/* 64-bit hash of bytes, the same on every machine (multiply-xor mixing as in wyhash-like designs; not cryptographic).
 * About 0.3 cycles per byte on long inputs. */
uint64_t iog_hash(const void *data, size_t n, uint64_t seed);

/*
 * printf without libc. Knows %s %.*s %c %d %i %u %ld %lu %lld %llu %zu %x %lx %llx %p %g %% with a minimum width and '-' or '0';
 * %g prints up to 9 significant digits, %.17g is honoured as round-trip. Always terminates dst when size > 0.
 * Returns the length the whole text would have had. Any thread.
 */
int iog_vformat(char *dst, size_t size, const char *fmt, va_list ap);
__attribute__((format(printf, 3, 4))) int iog_format(char *dst, size_t size, const char *fmt, ...);
/* Sets err->text unless err is NULL; returns code, so that a failing function can `return iog_fail(err, -EINVAL, ...)`. */
__attribute__((format(printf, 3, 4))) int iog_fail(struct iog_err *err, int code, const char *fmt, ...);

/* Decimal, 0x hexadecimal and scientific notation; correctly rounded up to 19 significant digits and |exponent| <= 22, within one
 * unit in the last place beyond. Returns the bytes read, 0 when there is no number at s. */
size_t iog_parse_number(const char *s, size_t len, double *value);

size_t iog_strlen(const char *s);
bool iog_streq(const char *a, const char *b);
/* Copies at most size-1 bytes and terminates; returns false when it had to cut. */
bool iog_strset(char *dst, size_t size, const char *src);
/* Letters, digits and '_', not starting with a digit; dots allowed inside when dots is true. Shorter than IOG_NAME. */
bool iog_name_valid(const char *name, bool dots);

/* The candidate nearest to name by edit distance (transpositions count one), or NULL when none is near enough to suggest. */
const char *iog_nearest(const char *name, const char *const *candidates, size_t n);

IOG_C_END

#endif
