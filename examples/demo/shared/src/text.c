#include "shared.h"

#include <stdlib.h>
#include <string.h>

static int reserve(struct text *text, size_t more)
{
    if (text->length + more + 1 <= text->capacity)
        return 0;
    size_t capacity = text->capacity ? text->capacity : 32;
    while (capacity < text->length + more + 1)
        capacity *= 2;
    char *bytes = realloc(text->bytes, capacity);
    if (!bytes)
        return -1;
    text->bytes = bytes;
    text->capacity = capacity;
    return 0;
}

int text_append(struct text *text, const char *bytes, size_t length)
{
    if (reserve(text, length))
        return -1;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
    return 0;
}

int text_append_string(struct text *text, const char *string)
{
    return text_append(text, string, strlen(string));
}

int text_append_repeated(struct text *text, char c, size_t count)
{
    if (reserve(text, count))
        return -1;
    memset(text->bytes + text->length, c, count);
    text->length += count;
    text->bytes[text->length] = '\0';
    return 0;
}

void text_free(struct text *text)
{
    free(text->bytes);
    text->bytes = NULL;
    text->length = text->capacity = 0;
}
