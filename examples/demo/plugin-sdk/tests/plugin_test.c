#include "plugin.h"

#include <stdio.h>

static double twice(const double *arguments, size_t count)
{
    (void)count;
    return 2 * arguments[0];
}

int main(void)
{
    size_t before = plugin_count();
    int failures = plugin_register("twice", twice) != 0 || plugin_register("twice", twice) != 0;
    failures += plugin_count() != before + 1;
    failures += plugin_evaluate("twice(max(1, 2, mean(8, 2))) + sum(1, 2, 3)").value != 16;
    failures += plugin_evaluate("1 + nothing(2)").error != 4;
    printf("plugin-sdk: %s\n", failures ? "failed" : "ok");
    return failures;
}
