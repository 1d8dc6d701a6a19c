/* router.c - the user's rules at work: each is a model that a session may go on with, put together when it is first needed. */
#include "cmd/agent.h"

/* A model that rules lead to. It owns what it is made of, for as long as the agent lives. */
struct other {
    struct other *next;
    const char *to;                     /* as the rule has it */
    struct invocation in;
    struct agent agent;
};

void agent_others_free(struct agent *a)
{
    while (a->others) {
        struct other *next = a->others->next;
        struct agent *o = &a->others->agent;

        free(o->base_url);
        free(o->model_id);
        free(o->model.name);
        free(o->key);
        free(a->others);
        a->others = next;
    }
    routes_done(&a->routes);
    privacy_free(a->privacy);
    egress_done(&a->egress);
}

CO int agent_rules(struct agent *a, struct err *e)
{
    const json_t *names = json_object_get(a->config.tree, "private"), *each;
    cleanup(buf_done) struct buf list = {0};
    size_t i;
    int r = routes_read(json_object_get(a->config.tree, "routes"), &a->routes, e);

    json_array_foreach(names, i, each)
        buf_addf(&list, "%s%s", i ? " " : "", json_is_string(each) ? json_string_value(each) : "");
    if (r == 0 && list.n)
        r = privacy_load(a->env, a->cwd, buf_str(&list), &a->privacy, e);
    if (r == 0)
        r = egress_read(json_object_get(a->config.tree, "network"), &a->egress, e);
    return r < 0 ? err_prefix(e, r, "%s: ", a->config.path) : 0;
}

/* The options of the command line that are about its own model say nothing of another. */
static CO struct other *other_new(struct agent *a, const char *to, struct err *e)
{
    struct other *o = xcalloc(1, sizeof(*o));
    struct agent *b = &o->agent;
    int r;

    o->in = *a->in;
    o->to = o->in.opt.model = to;
    o->in.opt.base_url = o->in.opt.api = o->in.opt.key_env = o->in.opt.images = o->in.opt.effort = NULL;
    o->in.opt.budget = a->budget;
    b->in = &o->in;
    b->home = a->home;
    b->config = a->config;
    b->harness = a->harness;
    r = agent_model(b, e);
    a->config = b->config;              /* it may have made a service */
    o->next = a->others;
    a->others = o;
    if (r < 0)
        return NULL;
    agent_longest(b);
    if (b->provider->needs_url)
        quota_name(b->base_url, b->model.key, b->quota);
    return o;
}

static struct other *other_find(struct agent *a, const char *to)
{
    struct other *o = a->others;

    while (o && (!o->agent.model_id || strcmp(o->to, to) != 0))
        o = o->next;
    return o;
}

CO int agent_route(void *arg, struct session *s, bool failed, struct err *e)
{
    struct agent *a = arg;
    ssize_t rule = routes_match(&a->routes, &s->view, a->role ? a->role : "main", failed);
    const char *to;
    cleanup(freep) char *why = NULL;
    struct settings set = {0};
    struct equipment with;
    struct other *o;
    struct agent *b;
    int r;

    if (rule < 0)
        return 0;
    to = a->routes.v[rule].to;
    o = other_find(a, to);
    if (!o && strcmp(config_role(&a->config, to) ? config_role(&a->config, to) : to, s->with.model->id) == 0)
        return 0;
    if (!o)
        o = other_new(a, to, e);
    if (!o)
        return err_prefix(e, -EINVAL, "%s: routes: rule %zd: ", a->config.path, rule + 1);
    b = &o->agent;
    if (strcmp(b->model_id, s->with.model->id) == 0)
        return 0;
    with = (struct equipment){ .provider = b->provider, .model = &b->model, .images = b->images, .longest = agent_answer_max(b),
                               .quota = b->quota[0] ? b->quota : NULL };
    set = (struct settings){ .model = b->model_id, .api = b->provider->name, .base_url = b->base_url ? b->base_url : "",
                             .key_env = b->set.key_env ? b->set.key_env : "", .images = &b->images,
                             .max_output = b->model.max_output, .budget = a->budget, .role = a->role };
    why = xasprintf("rule %zd of the configuration", rule + 1);
    r = session_switch(s, &with, &set, why, failed, e);
    return r < 0 ? r : 1;
}
