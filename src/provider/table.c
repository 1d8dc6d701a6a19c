/* table.c - the providers and the services, and the life cycle of the answer that all of them fill in. */
#include "core/provider.h"

#include <fnmatch.h>

#define PROVIDER(name) extern const struct provider provider_##name;
#include "provider/table.def"
#undef PROVIDER

static const struct provider *const providers[] = {
#define PROVIDER(name) &provider_##name,
#include "provider/table.def"
#undef PROVIDER
    NULL,
};

/* Efforts, where a service does not take the words of its API: the members of a request that say so. */
static const char *const effort_deepseek[EFFORTS] = {
    [EFFORT_OFF] = "\"thinking\":{\"type\":\"disabled\"}",
    [EFFORT_LOW] = "\"thinking\":{\"type\":\"enabled\"},\"reasoning_effort\":\"low\"",
    [EFFORT_MEDIUM] = "\"thinking\":{\"type\":\"enabled\"},\"reasoning_effort\":\"high\"",
    [EFFORT_HIGH] = "\"thinking\":{\"type\":\"enabled\"},\"reasoning_effort\":\"high\"",
    [EFFORT_MAX] = "\"thinking\":{\"type\":\"enabled\"},\"reasoning_effort\":\"max\"",
};
static const char *const effort_qwen[EFFORTS] = {
    [EFFORT_OFF] = "\"enable_thinking\":false",
    [EFFORT_LOW] = "\"enable_thinking\":true,\"thinking_budget\":2048",
    [EFFORT_MEDIUM] = "\"enable_thinking\":true,\"thinking_budget\":8192",
    [EFFORT_HIGH] = "\"enable_thinking\":true,\"thinking_budget\":24576",
    [EFFORT_MAX] = "\"enable_thinking\":true",
};
static const char *const effort_thinking[EFFORTS] = {
    [EFFORT_OFF] = "\"thinking\":{\"type\":\"disabled\"}",
    [EFFORT_LOW] = "\"thinking\":{\"type\":\"enabled\"}",
    [EFFORT_MEDIUM] = "\"thinking\":{\"type\":\"enabled\"}",
    [EFFORT_HIGH] = "\"thinking\":{\"type\":\"enabled\"}",
    [EFFORT_MAX] = "\"thinking\":{\"type\":\"enabled\"}",
};
static const char *const effort_openrouter[EFFORTS] = {
    [EFFORT_OFF] = "\"reasoning\":{\"enabled\":false}",
    [EFFORT_LOW] = "\"reasoning\":{\"effort\":\"low\"}",
    [EFFORT_MEDIUM] = "\"reasoning\":{\"effort\":\"medium\"}",
    [EFFORT_HIGH] = "\"reasoning\":{\"effort\":\"high\"}",
    [EFFORT_MAX] = "\"reasoning\":{\"effort\":\"xhigh\"}",
};
static const char *const effort_template[EFFORTS] = {
    [EFFORT_OFF] = "\"chat_template_kwargs\":{\"enable_thinking\":false}",
    [EFFORT_LOW] = "\"chat_template_kwargs\":{\"enable_thinking\":true},\"reasoning_effort\":\"low\"",
    [EFFORT_MEDIUM] = "\"chat_template_kwargs\":{\"enable_thinking\":true},\"reasoning_effort\":\"medium\"",
    [EFFORT_HIGH] = "\"chat_template_kwargs\":{\"enable_thinking\":true},\"reasoning_effort\":\"high\"",
    [EFFORT_MAX] = "\"chat_template_kwargs\":{\"enable_thinking\":true},\"reasoning_effort\":\"high\"",
};

#define SERVICE(id, ...) static const struct service service_##id = { .name = #id, __VA_ARGS__ };
#include "provider/services.def"
#undef SERVICE

const struct service *const services[] = {
#define SERVICE(id, ...) &service_##id,
#include "provider/services.def"
#undef SERVICE
    NULL,
};

const struct provider *provider_find(struct str name)
{
    for (size_t i = 0; providers[i]; i++)
        if (str_is(name, providers[i]->name))
            return providers[i];
    return NULL;
}

void provider_names(struct buf *out)
{
    for (size_t i = 0; providers[i]; i++)
        if (providers[i]->needs_url)
            buf_addf(out, "%s%s", out->n ? ", " : "", providers[i]->name);
}

const struct service *service_find(struct str name)
{
    for (size_t i = 0; services[i]; i++)
        if (str_is(name, services[i]->name))
            return services[i];
    return NULL;
}

static const struct {
    const char *pattern;
    struct facts facts;
} models[] = {
#define MODEL(pattern, context, output, images, in, cached, written, out)                       \
    { pattern, { context, output, images, !(images), { (int64_t)((in) * 1e6 + .5), (int64_t)((out) * 1e6 + .5),  \
                                                       (int64_t)((cached) * 1e6 + .5), (int64_t)((written) * 1e6 + .5), true } } },
#define FREE(pattern) { pattern, { .price.known = true } },
#include "provider/models.def"
#undef FREE
#undef MODEL
};

struct facts facts_find(const char *id)
{
    for (size_t i = 0; i < ARRAY_SIZE(models); i++)
        if (fnmatch(models[i].pattern, id, FNM_CASEFOLD) == 0)
            return models[i].facts;
    return (struct facts){0};
}

void listing_done(struct listing *l)
{
    json_decref(l->names);
}

void answer_done(struct answer *a)
{
    buf_done(&a->text);
    buf_done(&a->reasoning);
    buf_done(&a->extra);
    pack_done(&a->wire);
    for (size_t i = 0; i < a->ncalls; i++) {
        buf_done(&a->calls[i].id);
        buf_done(&a->calls[i].name);
        buf_done(&a->calls[i].args);
    }
    free(a->calls);
}
