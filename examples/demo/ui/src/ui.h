/* Draws tables as text. */
#ifndef UI_H
#define UI_H

struct ui_table;

/* NULL if there is no memory. */
struct ui_table *ui_begin(const char *title);
void ui_row(struct ui_table *table, const char *label, const char *value);
/* The whole table; valid until ui_free. */
const char *ui_finish(struct ui_table *table);
void ui_free(struct ui_table *table);

#endif
