#include "ui.h"

#include "shared.h"
#include "shared_version.h"
#include "templates.h"

#include <stdlib.h>
#include <string.h>

enum { LABEL_WIDTH = 24 };

struct ui_table {
    struct text text;
};

static void fill(struct text *text, const char *template, const char *value)
{
    const char *place = strstr(template, "%s");
    text_append(text, template, (size_t)(place - template));
    text_append_string(text, value);
    text_append_string(text, place + 2);
}

struct ui_table *ui_begin(const char *title)
{
    struct ui_table *table = calloc(1, sizeof *table);
    if (table)
        fill(&table->text, TEMPLATE_HEAD, title);
    return table;
}

void ui_row(struct ui_table *table, const char *label, const char *value)
{
    size_t length = strlen(label);
    text_append_string(&table->text, "| ");
    text_append(&table->text, label, length);
    if (length < LABEL_WIDTH)
        text_append_repeated(&table->text, ' ', LABEL_WIDTH - length);
    text_append_string(&table->text, " = ");
    text_append_string(&table->text, value);
    text_append_string(&table->text, "\n");
}

const char *ui_finish(struct ui_table *table)
{
    fill(&table->text, TEMPLATE_FOOT, SHARED_VERSION);
    return table->text.bytes;
}

void ui_free(struct ui_table *table)
{
    text_free(&table->text);
    free(table);
}
