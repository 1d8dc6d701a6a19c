/* table.c - the providers, and the life cycle of the answer that all of them fill in. */
#include "core/provider.h"

#define PROVIDER(name) extern const struct provider provider_##name;
#include "provider/table.def"
#undef PROVIDER

static const struct provider *const providers[] = {
#define PROVIDER(name) &provider_##name,
#include "provider/table.def"
#undef PROVIDER
    NULL,
};

const struct provider *provider_find(struct str name)
{
    for (size_t i = 0; providers[i]; i++)
        if (str_is(name, providers[i]->name))
            return providers[i];
    return NULL;
}

void answer_done(struct answer *a)
{
    buf_done(&a->text);
    buf_done(&a->extra);
    for (size_t i = 0; i < a->ncalls; i++) {
        buf_done(&a->calls[i].id);
        buf_done(&a->calls[i].name);
        buf_done(&a->calls[i].args);
    }
    free(a->calls);
}
