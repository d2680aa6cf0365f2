#include "core.h"

#include "shared.h"

#include <ctype.h>
#include <stdlib.h>

enum { MAX_DEPTH = 200, MAX_ARGUMENTS = 16, MAX_NAME = 32 };

struct parser {
    const char *start;
    const char *next;
    const char *error;
    int depth;
    core_call call;
    void *context;
};

static double sum(struct parser *parser);

static double fail(struct parser *parser)
{
    if (!parser->error)
        parser->error = parser->next;
    return 0;
}

static int accept(struct parser *parser, char c)
{
    while (isspace((unsigned char)*parser->next))
        parser->next++;
    if (parser->error || *parser->next != c)
        return 0;
    parser->next++;
    return 1;
}

static double function(struct parser *parser)
{
    char name[MAX_NAME];
    double arguments[MAX_ARGUMENTS];
    size_t length = 0, count = 0;
    double result = 0;
    const char *from = parser->next;
    while (isalnum((unsigned char)*parser->next)) {
        if (length + 1 == MAX_NAME)
            return fail(parser);
        name[length++] = *parser->next++;
    }
    name[length] = '\0';
    if (!accept(parser, '('))
        return fail(parser);
    do {
        if (count == MAX_ARGUMENTS)
            return fail(parser);
        arguments[count++] = sum(parser);
    } while (accept(parser, ','));
    if (!accept(parser, ')'))
        return fail(parser);
    if (!parser->call || parser->call(parser->context, name, arguments, count, &result)) {
        parser->next = from;
        return fail(parser);
    }
    return result;
}

static double primary(struct parser *parser)
{
    double value;
    if (++parser->depth > MAX_DEPTH)
        return fail(parser);
    if (accept(parser, '(')) {
        value = sum(parser);
        if (!accept(parser, ')'))
            value = fail(parser);
    } else if (accept(parser, '-')) {
        value = -primary(parser);
    } else if (isdigit((unsigned char)*parser->next)) {
        char *end;
        value = strtod(parser->next, &end);
        parser->next = end;
    } else if (isalpha((unsigned char)*parser->next)) {
        value = function(parser);
    } else {
        value = fail(parser);
    }
    parser->depth--;
    return value;
}

static double product(struct parser *parser)
{
    double value = primary(parser);
    for (;;) {
        if (accept(parser, '*')) {
            value *= primary(parser);
        } else if (accept(parser, '/')) {
            double divisor = primary(parser);
            if (divisor == 0)
                return fail(parser);
            value /= divisor;
        } else {
            return value;
        }
    }
}

static double sum(struct parser *parser)
{
    double value = product(parser);
    for (;;) {
        if (accept(parser, '+'))
            value += product(parser);
        else if (accept(parser, '-'))
            value -= product(parser);
        else
            return value;
    }
}

static uint64_t fingerprint(const char *expression)
{
    struct text text = {0};
    for (const char *c = expression; *c; c++)
        if (!isspace((unsigned char)*c))
            text_append(&text, c, 1);
    uint64_t hash = hash_bytes(text.bytes, text.length);
    text_free(&text);
    return hash;
}

struct core_result core_evaluate(const char *expression, core_call call, void *context)
{
    struct parser parser = {expression, expression, NULL, 0, call, context};
    struct core_result result = {0, fingerprint(expression), -1};
    result.value = sum(&parser);
    accept(&parser, '\0');
    if (!parser.error && parser.next[-1] != '\0')
        fail(&parser);
    if (parser.error)
        result.error = parser.error - expression;
    return result;
}
