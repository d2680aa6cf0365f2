/* Evaluates arithmetic: numbers, + - * /, parentheses, and functions that plugins provide. */
#ifndef CORE_H
#define CORE_H

#include <stddef.h>
#include <stdint.h>

/* Finds a function by name and calls it. Returns 0, or -1 if there is none of that name or it cannot take the arguments. */
typedef int (*core_call)(void *context, const char *name, const double *arguments, size_t count, double *result);

struct core_result {
    double value;
    /* FNV-1a of the expression without its blanks: equal for expressions that differ in blanks only. */
    uint64_t fingerprint;
    /* Where it went wrong, in bytes from the start; -1 if it did not. */
    long error;
};

/* `call` may be NULL: then there are no functions. */
struct core_result core_evaluate(const char *expression, core_call call, void *context);

#endif
