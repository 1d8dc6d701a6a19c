/* cmd_tools.c - what the model is given: each tool of the harness, with the size of its words. */
#include "cmd/cmd.h"
#include "core/harness.h"

#define BYTES_PER_TOKEN 4.2             /* of these texts, on average; only an estimate */

int cmd_tools(struct invocation *in)
{
    struct harness *h;
    struct err e = {0};
    size_t total = 0;

    if (harness_load(in->opt.harness ? in->opt.harness : "coder", in->opt.model, &h, &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    for (size_t i = 0; i < h->ntools; i++) {
        const struct harness_tool *t = &h->tools[i];
        cleanup(json_unrefp) json_t *j = NULL;

        total += strlen(t->json);
        if (in->opt.json) {
            puts(t->json);
        } else if (js_parse(str_of(t->json), &j, &e) == 0) {
            printf("%-7s %-5s about %3.0f tokens  %.*s\n", t->tool->name, t->tool->effect == EFFECT_PURE ? "reads" : "acts",
                   (double)strlen(t->json) / BYTES_PER_TOKEN, STR(js_str(j, "description")));
        }
    }
    if (!in->opt.json)
        printf("system prompt and tools: %zu bytes, about %.0f tokens\n", total + strlen(h->system),
               (double)(total + strlen(h->system)) / BYTES_PER_TOKEN);
    harness_free(h);
    return STATUS_DONE;
}
