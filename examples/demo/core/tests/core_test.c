#include "core.h"

#include <stdio.h>

static int failures;

static void expect(const char *expression, double value, long error)
{
    struct core_result result = core_evaluate(expression, NULL, NULL);
    if (result.error == error && (error >= 0 || result.value == value))
        return;
    fprintf(stderr, "`%s`: %g, error at %ld\n", expression, result.value, result.error);
    failures++;
}

int main(void)
{
    expect("1 + 2 * 3", 7, -1);
    expect("(1 + 2) * 3", 9, -1);
    expect("-2 * -(3 - 1)", 4, -1);
    expect("7 / 2", 3.5, -1);
    expect("1 +", 0, 3);
    expect("1 2", 0, 2);
    expect("f(1)", 0, 0);
    expect("1 / 0", 0, 5);
    expect("", 0, 0);
    if (core_evaluate("1+2", NULL, NULL).fingerprint != core_evaluate(" 1 + 2 ", NULL, NULL).fingerprint)
        failures++;
    printf("core: %s\n", failures ? "failed" : "ok");
    return failures != 0;
}
