#include "ui.h"

#include <stdio.h>
#include <string.h>

int main(void)
{
    struct ui_table *table = ui_begin("title");
    ui_row(table, "label", "value");
    const char *text = ui_finish(table);
    int failed = strncmp(text, "+--[ title ]\n| label", 20) != 0 || !strstr(text, " = value\n+--[ shared 1.");
    printf("%sui: %s\n", text, failed ? "failed" : "ok");
    ui_free(table);
    return failed;
}
