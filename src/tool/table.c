/* table.c - the tools that this rein has; which of them a model gets is the harness's business. */
#include "core/tool.h"

#define TOOL(name) extern const struct tool tool_##name;
#include "tool/table.def"
#undef TOOL

static const struct tool *const tools[] = {
#define TOOL(name) &tool_##name,
#include "tool/table.def"
#undef TOOL
    NULL,
};

const struct tool *tool_find(struct str name)
{
    for (size_t i = 0; tools[i]; i++)
        if (str_is(name, tools[i]->name))
            return tools[i];
    return NULL;
}
