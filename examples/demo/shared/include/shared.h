/* Text buffers and hashes that the other packages use. */
#ifndef SHARED_H
#define SHARED_H

#include <stddef.h>
#include <stdint.h>

/* Text that grows. Starts as {0}; text_free releases it. */
struct text {
    char *bytes;
    size_t length;
    size_t capacity;
};

/* Appends; returns 0, or -1 when there is no memory. The bytes always end in a NUL. */
int text_append(struct text *text, const char *bytes, size_t length);
int text_append_string(struct text *text, const char *string);
int text_append_repeated(struct text *text, char c, size_t count);
void text_free(struct text *text);

/* 64-bit FNV-1a. */
uint64_t hash_bytes(const void *bytes, size_t length);

#endif
