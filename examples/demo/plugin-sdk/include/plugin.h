/* Functions for expressions. A program adds its own to those that come with the kit. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include "core.h"

typedef double (*plugin_function)(const double *arguments, size_t count);

/* Adds a function, or replaces that of the same name. Returns -1 if there is no room. `name` must stay valid. */
int plugin_register(const char *name, plugin_function function);

/* How many there are. */
size_t plugin_count(void);

/* Evaluates with all functions: `min`, `max`, `sum`, `mean` and the registered ones. */
struct core_result plugin_evaluate(const char *expression);

#endif
