/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The four functions a C compiler may call by itself, for a guest without libc. Short blocks by overlapping loads and stores, long ones
 * by the string instructions, which every processor with fast strings (ERMS) runs at the width of its caches.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

typedef uint16_t u16 __attribute__((aligned(1), may_alias));
typedef uint32_t u32 __attribute__((aligned(1), may_alias));
typedef uint64_t u64 __attribute__((aligned(1), may_alias));
typedef uint64_t u128 __attribute__((vector_size(16), aligned(1), may_alias));

enum { LONG = 1024 }; /* from here on string instructions win over their start-up time */

/* Up to 32 bytes. All loads come before the first store: right for overlapping blocks too. */
static inline void move_short(uint8_t *d, const uint8_t *s, size_t n)
{
	if (n >= 16) {
		u128 a = *(const u128 *)s, b = *(const u128 *)(s + n - 16);

		*(u128 *)d = a;
		*(u128 *)(d + n - 16) = b;
	} else if (n >= 8) {
		uint64_t a = *(const u64 *)s, b = *(const u64 *)(s + n - 8);

		*(u64 *)d = a;
		*(u64 *)(d + n - 8) = b;
	} else if (n >= 4) {
		uint32_t a = *(const u32 *)s, b = *(const u32 *)(s + n - 4);

		*(u32 *)d = a;
		*(u32 *)(d + n - 4) = b;
	} else if (n) {
		uint8_t a = s[0], b = s[n / 2], c = s[n - 1];

		d[0] = a;
		d[n / 2] = b;
		d[n - 1] = c;
	}
}

/* More than 32 bytes, from the front; right when dst is before src or they do not overlap. */
static inline void move_up(uint8_t *d, const uint8_t *s, size_t n)
{
	u128 last[2] = { *(const u128 *)(s + n - 32), *(const u128 *)(s + n - 16) };
	uint8_t *end = d + n;

	for (; n > 32; n -= 32, d += 32, s += 32) {
		u128 a = *(const u128 *)s, b = *(const u128 *)(s + 16);

		*(u128 *)d = a;
		*(u128 *)(d + 16) = b;
	}
	*(u128 *)(end - 32) = last[0];
	*(u128 *)(end - 16) = last[1];
}

/* More than 32 bytes, from the back; right when dst is behind src. */
static inline void move_down(uint8_t *d, const uint8_t *s, size_t n)
{
	u128 first[2] = { *(const u128 *)s, *(const u128 *)(s + 16) };

	for (; n > 32; n -= 32) {
		u128 a = *(const u128 *)(s + n - 32), b = *(const u128 *)(s + n - 16);

		*(u128 *)(d + n - 32) = a;
		*(u128 *)(d + n - 16) = b;
	}
	*(u128 *)d = first[0];
	*(u128 *)(d + 16) = first[1];
}

static inline void move_long(void *d, const void *s, size_t n) { __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); }

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	if (n <= 32)
		move_short(dst, src, n);
	else if (n < LONG)
		move_up(dst, src, n);
	else
		move_long(dst, src, n);
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	if ((uintptr_t)dst - (uintptr_t)src >= n) {
		/* dst before src, or apart. Close together, string instructions are slow. */
		if (n >= LONG && (uintptr_t)src - (uintptr_t)dst >= 64)
			move_long(dst, src, n);
		else if (n > 32)
			move_up(dst, src, n);
		else
			move_short(dst, src, n);
	} else if (n > 32) {
		move_down(dst, src, n);
	} else {
		move_short(dst, src, n);
	}
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	uint64_t v = 0x0101010101010101ull * (uint8_t)c;
	uint8_t *d = dst;

	if (n >= LONG) {
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	} else if (n >= 16) {
		u128 w = { v, v };

		for (size_t i = 0; i + 16 < n; i += 16)
			*(u128 *)(d + i) = w;
		*(u128 *)(d + n - 16) = w;
	} else if (n >= 8) {
		*(u64 *)d = v;
		*(u64 *)(d + n - 8) = v;
	} else if (n >= 2) {
		for (size_t i = 0; i + 2 < n; i += 2)
			*(u16 *)(d + i) = (uint16_t)v;
		*(u16 *)(d + n - 2) = (uint16_t)v;
	} else if (n) {
		*d = (uint8_t)c;
	}
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n >= 8; n -= 8, p += 8, q += 8) {
		uint64_t x = *(const u64 *)p, y = *(const u64 *)q;

		if (x != y) {
			/* The first byte decides. */
			x = __builtin_bswap64(x);
			y = __builtin_bswap64(y);
			return x < y ? -1 : 1;
		}
	}
	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
