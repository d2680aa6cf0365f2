#include "shared.h"

uint64_t hash_bytes(const void *bytes, size_t length)
{
    const unsigned char *next = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) {
        hash ^= next[i];
        hash *= 0x100000001b3u;
    }
    return hash;
}
