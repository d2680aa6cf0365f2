#include "shared.h"
#include "shared_version.h"

#include <stdio.h>
#include <string.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            return 1; \
        } \
    } while (0)

int main(void)
{
    struct text text = {0};
    for (int i = 0; i < 100; i++)
        CHECK(text_append_string(&text, "abc") == 0);
    CHECK(text.length == 300 && strlen(text.bytes) == 300);
    CHECK(text_append_repeated(&text, '-', 5) == 0);
    CHECK(strcmp(text.bytes + 297, "abc-----") == 0);
    text_free(&text);
    /* Known answers of FNV-1a. */
    CHECK(hash_bytes("", 0) == 0xcbf29ce484222325u);
    CHECK(hash_bytes("foobar", 6) == 0x85944171f73967e8u);
    CHECK(SHARED_VERSION_NUMBER >= 10000);
    printf("shared %s: ok\n", SHARED_VERSION);
    return 0;
}
