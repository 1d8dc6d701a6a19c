#include "cmd/plan.h"
#include "cmd/service.h"
#include "cmd/undo.h"

#include "base/path.h"
#include "core/policy.h"
#include "core/redact.h"
#include "core/turn.h"
#include "env/local.h"
#include "rt/http.h"
#include "rt/loop.h"

#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

/* The turn that a signal stops. */
static struct {
    struct scope *turn;
    const char *home;
    int signals;
} driving;

static void dump_fibers(void)
{
    cleanup(freep) char *path = xasprintf("%s/fibers.%d", driving.home, getpid());
    cleanup(freep) char *temp = xasprintf("%s.tmp", path);
    cleanup(buf_done) struct buf table = {0};
    FILE *f = fopen(temp, "we");

    if (!f)
        return;
    fiber_table(&table);
    fwrite(table.p, 1, table.n, f);
    fclose(f);
    rename(temp, path);
}

static void on_signal(int signo)
{
    if (signo == SIGUSR1) {
        dump_fibers();
        return;
    }
    /* The second one is for a rein that hangs; the log does not mind. */
    if (driving.signals++ || !driving.turn)
        _exit(STATUS_INTERRUPTED);
    scope_cancel(driving.turn);
}

struct start {
    struct agent agent;
    CO int (*fn)(struct agent *a);
    int status;
};

static CO int main_fiber(void *arg)
{
    struct start *start = arg;
    struct agent *a = &start->agent;

    start->status = start->fn(a);
    scope_done(&a->side);
    if (a->proxy.listener)
        close(a->proxy.listener);
    if (a->session && a->env)
        layers_close(a->env);
    session_free(a->session);
    ledger_done(&a->ledger);
    store_close(a->store);
    env_free(a->env);
    harness_free(a->harness);
    return 0;
}

int agent_main(struct invocation *in, CO int (*fn)(struct agent *a))
{
    struct start start = { .agent = { .in = in }, .fn = fn };
    struct agent *a = &start.agent;
    struct err e = {0};

    if (rein_home(&a->home, &e) < 0)
        return fail(STATUS_USAGE, "%s", e.msg);
    driving.home = a->home;
    a->said = in->opt;
    if (config_load(a->home, &a->config, &e) < 0 || config_options(&a->config, &in->opt, &e) < 0) {
        free(a->home);
        config_done(&a->config);
        return fail(STATUS_USAGE, "%s", e.msg);
    }
    config_environment(&a->config);
    http_use(&(struct http_tls){ in->opt.ca, in->opt.cert, in->opt.cert_key });
    if (loop_run(main_fiber, &start, on_signal) < 0)
        start.status = fail(STATUS_FAILED, "the event loop cannot be started");
    buf_done(&a->answer);
    free(a->home);
    free(a->tier_why);
    free(a->cwd);
    free(a->base_url);
    free(a->model_id);
    free(a->model.name);
    free(a->key);
    agent_others_free(a);
    json_decref(a->recorded[0]);
    json_decref(a->recorded[1]);
    config_done(&a->config);
    return start.status;
}

CO int agent_store(struct agent *a, enum store_mode mode, struct err *e)
{
    int r = store_open(a->home, mode, &a->store, e);

    if (r == 0)
        ledger_init(&a->ledger, a->store);
    return r;
}

CO int agent_find(struct agent *a, enum store_mode mode, const char *arg, struct session_row *ret)
{
    struct err e = {0};
    int r;

    if (!arg && !a->in->opt.last)
        return fail(STATUS_USAGE, "say which session: an ID, or --last; `rein sessions` lists them");
    r = agent_store(a, mode, &e);
    if (r == 0)
        r = store_find(a->store, arg, ret, &e);
    return r < 0 ? fail(r == -ENOENT || r == -ENOTUNIQ ? STATUS_USAGE : STATUS_FAILED, "%s", e.msg) : 0;
}

CO int agent_find_log(struct agent *a, const char *arg, struct session_row *ret)
{
    struct err e = {0};

    if (!arg || strcmp(arg, LEDGER_ID) != 0)
        return agent_find(a, STORE_READ, arg, ret);
    if (agent_store(a, STORE_READ, &e) < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    *ret = ledger_row();
    return 0;
}

/* Whether a model takes images: what is known of it, else by its name. */
static bool takes_images(const struct facts *facts, const char *model)
{
    static const char *const names[] = { "*gpt-4o*", "*gpt-4.1*", "*gpt-5*", "*gpt-6*", "*/o3*", "*/o4*", "*claude*", "*gemini*",
                                         "*-vl*", "*vision*", "*llava*", "*pixtral*", "*glm-*v*", "*kimi-k2.5*", "*gemma-3*" };

    if (facts->images || facts->no_images)
        return facts->images;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (fnmatch(names[i], model, FNM_CASEFOLD) == 0)
            return true;
    return false;
}

static int find_effort(struct agent *a, const char *word, struct err *e)
{
    static const char *const words[EFFORTS] = { "default", "off", "low", "medium", "high", "max" };

    for (size_t i = 0; word && i < EFFORTS; i++)
        if (strcmp(words[i], word) == 0) {
            a->model.effort = (enum effort)i;
            return 0;
        }
    return word ? err_set(e, -EINVAL, "--effort takes off, low, medium, high, max or default, not '%s'", word) : 0;
}

/* What a person calls a model, as PROVIDER/NAME: it may be a role, and local/NAME is the server's that has it. */
static CO int resolve(struct agent *a, const char *said, const char *base_url, char **ret, struct err *e)
{
    const char *of_role = strchr(said, '/') ? NULL : config_role(&a->config, said);
    const char *model = of_role ? of_role : said;
    bool search = strncmp(model, "local/", 6) == 0 && !base_url &&
                  !json_object_get(json_object_get(a->config.tree, "providers"), "local");

    a->role = of_role ? said : NULL;
    if (search)
        return service_local(&a->config, model + 6, ret, e);
    *ret = xstrdup(model);
    return 0;
}

/* What the model is called, what it speaks and what is known of it; `api` NULL for the service's own. */
static int find_provider(struct agent *a, const char *model, const char *api, const char *effort, const char *budget, struct err *e)
{
    const struct options *opt = &a->in->opt;
    const struct service *service;
    const char *name;
    int r;

    r = config_service(&a->config, str_head(str_of(model), strchr(model, '/') ? strcspn(model, "/") : 0), &service, e);
    if (r < 0)
        return r;
    name = service ? model + strcspn(model, "/") + 1 : model;
    a->service = service ? *service : (struct service){ .name = "custom", .api = "chat" };
    a->model.service = service ? service : &a->service;
    if (!api)
        api = a->model.service->api;
    a->provider = provider_find(str_of(api));
    if (!a->provider) {
        cleanup(buf_done) struct buf names = {0};

        provider_names(&names);
        return err_set(e, -EINVAL, "this rein does not speak '%s'; --api takes %s", api, names.p);
    }
    if (a->provider->needs_url)
        http_prefetch(&a->side);        /* it loads while the store opens */
    if (!a->provider->names_file) {
        a->model.name = xstrdup(name);
        a->model_id = xstrdup(model);
    } else {
        cleanup(freep) char *cwd = getcwd(NULL, 0);

        a->model.name = path_resolve(cwd ? cwd : "/", str_of(name));    /* it is a file, and resume may run elsewhere */
        a->model_id = xasprintf("%s/%s", api, a->model.name);
    }
    a->model.id = a->model_id;
    a->model.timers = (struct timers){ opt->connect_timeout, opt->first_timeout, opt->idle_timeout, opt->request_timeout };
    r = config_facts(&a->config, a->model_id, &a->model.facts, e);
    if (r == 0 && budget)
        r = config_budget(&a->config, budget, &a->budget_cap, e);
    a->budget = budget;
    if (r == 0 && (opt->budget_usd || budget) && !a->model.facts.price.known)
        r = err_set(e, -EINVAL, "what %s costs is not known, so a budget cannot be kept: say it in %s, models: %s: {price: "
                    "{in: X, out: X}}, in dollars per million tokens", a->model_id, a->config.path, a->model_id);
    if (r == 0)
        r = find_effort(a, effort, e);
    a->images = opt->images ? strcmp(opt->images, "yes") == 0 : takes_images(&a->model.facts, a->model_id);
    return r;
}

static int command_key(struct agent *a, const char *command, struct err *e)
{
    FILE *f = popen(command, "re");
    size_t cap = 0;
    ssize_t n = f ? getline(&a->key, &cap, f) : -1;
    int status = f ? pclose(f) : -1;

    while (n > 0 && strchr("\r\n", a->key[n - 1]))
        a->key[--n] = 0;
    if (status != 0 || n <= 0)
        return err_set(e, -EINVAL, "the key for %s: the command that should print it failed or printed nothing", a->model_id);
    a->model.key = a->key;
    redact_learn(str_of(a->key));
    return 0;
}

/* Where it is, and its key: the options first, then what the session had (NULL: nothing), then the service's row. */
static int find_address(struct agent *a, const char *had_url, const char *had_key_env, struct err *e)
{
    const struct options *opt = a->session ? &a->said : &a->in->opt;
    const struct service *service = a->model.service;
    const char *url = opt->base_url ? opt->base_url : had_url, *key_env = opt->key_env ? opt->key_env : had_key_env;
    const char *command = config_key_command(&a->config, service);

    if (!key_env && !url)
        key_env = service->key_env;         /* the service's key goes to the service's address only */
    if (!url)
        url = service->base_url;
    if (a->provider->needs_url && !url)
        return err_set(e, -EINVAL, "'%s' names no service that rein knows: give its address with --base-url", a->model_id);
    a->base_url = url ? xstrdup(url) : NULL;
    a->model.base_url = a->base_url;
    a->set.base_url = opt->base_url;
    a->set.key_env = opt->key_env ? opt->key_env : had_key_env ? NULL : key_env;
    if (key_env) {
        a->model.key = getenv(key_env);
        if (!a->model.key || !*a->model.key)
            return err_set(e, -EINVAL, "the key for %s is missing: set the environment variable %s", a->model_id, key_env);
        redact_learn(str_of(a->model.key));
        return 0;
    }
    return command && (!url || url == service->base_url) ? command_key(a, command, e) : 0;
}

CO int agent_model(struct agent *a, struct err *e)
{
    const struct options *opt = &a->in->opt;
    cleanup(freep) char *model = NULL;
    int r = resolve(a, opt->model, opt->base_url, &model, e);

    if (r == 0)
        r = find_provider(a, model, opt->api, opt->effort, opt->budget, e);

    return r < 0 ? r : find_address(a, NULL, NULL, e);
}

/* Tokens that an answer may have. Where money is counted there has to be a number, and it is said in every request. */
void agent_longest(struct agent *a)
{
    int64_t own = a->harness->max_output, known = a->model.facts.output;

    if (!own && (a->in->opt.budget_usd || a->budget))
        a->model.max_output = known ? MIN(known, (int64_t)32000) : 16384;
    else if (strcmp(a->provider->name, "messages") == 0)
        a->model.max_output = known;        /* that API has no limit of its own */
}

static int find_cwd(struct agent *a, const char *dir, struct err *e)
{
    a->cwd = realpath(dir ? dir : ".", NULL);
    if (!a->cwd)
        return err_set(e, -errno, "the directory %s: %s", dir ? dir : ".", strerror(errno));
    return 0;
}

int64_t agent_answer_max(const struct agent *a)
{
    int64_t own = a->harness->max_output, limit = a->model.max_output;

    return own && limit ? MIN(own, limit) : own ? own : limit;
}

static struct equipment equipment(struct agent *a)
{
    return (struct equipment){
        .provider = a->provider, .model = &a->model, .harness = a->harness, .env = a->env, .images = a->images,
        .longest = agent_answer_max(a), .privacy = a->privacy, .egress = &a->egress,
        .route = a->routes.n ? agent_route : NULL, .route_arg = a,
        .ledger = &a->ledger, .budget = a->budget, .budget_cap = a->budget_cap,
        .observer = { print_event, print_delta, a },
    };
}

/* Limits: the option, else (for a new session) the harness. */
static void find_limits(struct agent *a, bool fresh)
{
    const struct options *opt = fresh ? &a->in->opt : &a->said;
    const struct limits *own = &a->harness->limits;

    a->set.limits.steps = opt->max_steps ? opt->max_steps : fresh ? own->steps : 0;
    a->set.limits.tokens = opt->budget_tokens ? opt->budget_tokens : fresh ? own->tokens : 0;
    a->set.limits.seconds = opt->timeout ? opt->timeout : fresh ? own->seconds : 0;
    a->set.limits.cost = opt->budget_usd;
    a->set.limits.retries = opt->retries;
    a->set.limits.backoff = opt->backoff;
    a->set.limits.patience = (opt->patience + 999) / 1000;
}

static enum status status_of(int r)
{
    switch (r) {
    case -ENOTSUP:
        return STATUS_PROTECTION;
    case -EHOSTUNREACH:
        return STATUS_MODEL;
    case -EINVAL:
    case -EPERM:
    case -ENOENT:
    case -EBADMSG:
    case -ENOTUNIQ:
        return STATUS_USAGE;
    default:
        return STATUS_FAILED;
    }
}

CO int agent_create(struct agent *a)
{
    const struct options *opt = &a->in->opt;
    struct equipment with;
    struct err e = {0};
    int r;

    a->set.mode = opt->mode;
    r = opt->mode ? policy_mode(opt->mode, &e) : 0;
    if (r == 0 && opt->images && strcmp(opt->images, "yes") != 0 && strcmp(opt->images, "no") != 0)
        r = err_set(&e, -EINVAL, "--images takes yes or no");
    if (r == 0 && !opt->model)
        r = err_set(&e, -EINVAL, "no model is named: --model PROVIDER/NAME, for example --model deepseek/deepseek-chat, or "
                    "with --base-url URL --api chat for any other service. Without a key, --model builtin/apprentice repairs C "
                        "builds");
    if (r == 0)
        r = agent_model(a, &e);
    if (r == 0)
        r = find_cwd(a, opt->dir, &e);
    if (r == 0)
        r = env_local(a->cwd, a->home, &a->env, &e);
    if (r == 0)
        r = harness_load(opt->harness ? opt->harness : "coder", a->model_id, &a->harness, &e);
    if (r < 0)
        return fail(status_of(r), "%s", e.msg);
    r = agent_rules(a, &e);
    if (r < 0)
        return fail(status_of(r), "%s", e.msg);
    r = agent_tier(a, opt->mode);
    if (r != 0)
        return r;
    agent_longest(a);
    a->set.max_output = a->model.max_output;
    a->set.budget = a->budget;
    a->set.role = a->role;
    find_limits(a, true);
    a->set.cwd = a->cwd;
    a->set.harness = a->harness;
    a->set.model = a->model_id;
    a->set.images = &a->images;
    a->set.effort = opt->effort;
    a->set.api = a->provider->name;
    a->set.base_url = a->base_url;
    r = agent_store(a, STORE_WRITE, &e);
    with = equipment(a);
    if (r == 0)
        r = session_create(a->store, &with, &a->set, &a->session, &e);
    return r < 0 ? fail(STATUS_FAILED, "%s", e.msg) : agent_box(a);
}

/* What a session's log says, as far as it has to be known before the rest can be folded. */
struct recorded {
    json_t *first, *set;            /* bodies of its first event, and of the last that changed something; the agent's */
    const char *cwd, *model, *api, *harness, *effort, *budget, *role, *mode;
    int64_t max_output;
    bool switched;                  /* the command line says another model, or another API */
};

static CO int read_body(struct event *ev, const struct session_row *row, json_t **ret, struct err *e)
{
    unsigned long long seq = ev->seq;
    int r = js_parse(ev->body, ret, e);

    event_free(ev);
    return r < 0 ? err_prefix(e, r, "session %s, event %llu: ", row->id, seq) : 0;
}

/* `upto`: the last event that counts, 0 for all. */
static CO int read_recorded(struct agent *a, const struct session_row *row, uint64_t upto, struct recorded *ret, struct err *e)
{
    struct event *ev;
    int r = store_first(a->store, row->key, EV_SESSION, &ev, e);

    if (r < 0)
        return err_prefix(e, r, "session %s: ", row->id);
    r = read_body(ev, row, &ret->first, e);
    if (r == 0 && store_latest(a->store, row->key, EV_SET, upto, &ev, e) == 0)
        r = read_body(ev, row, &ret->set, e);
    a->recorded[0] = ret->first;
    a->recorded[1] = ret->set;
    if (r < 0)
        return r;
    ret->cwd = js_str(ret->first, "cwd").p;
    ret->model = js_str(ret->set, "model").p;
    ret->api = js_str(ret->set, "api").p;
    if (!ret->model || !ret->api) {
        ret->model = js_str(ret->first, "model").p;
        ret->api = js_str(ret->first, "api").p;
    }
    ret->harness = js_str(json_object_get(ret->first, "harness"), "source").p;
    ret->effort = js_str(ret->set ? ret->set : ret->first, "effort").p;
    ret->budget = js_str(ret->set ? ret->set : ret->first, "budget").p;
    ret->mode = js_str(ret->set, "mode").p ? js_str(ret->set, "mode").p : js_str(ret->first, "mode").p;
    ret->role = js_str(ret->set ? ret->set : ret->first, "role").p;
    ret->max_output = js_int(ret->set ? ret->set : ret->first, "max_output", 0);
    if (!ret->cwd || !ret->model || !ret->api || !ret->harness)
        return err_set(e, -EUCLEAN, "session %s: event 1 is incomplete", row->id);
    return 0;
}

/* Puts together what a recorded session runs with, all but its model's address. */
static CO int equip_recorded(struct agent *a, struct recorded *rec, struct err *e)
{
    const struct options *said = &a->said;
    cleanup(freep) char *model = said->model ? NULL : xstrdup(rec->model);
    bool other;
    int r = said->mode ? policy_mode(said->mode, e) : 0;

    a->role = rec->role;
    if (r == 0 && said->model)
        r = resolve(a, said->model, said->base_url, &model, e);
    other = r == 0 && strcmp(model, rec->model) != 0;
    if (r == 0)
        r = find_provider(a, model, said->api ? said->api : other ? NULL : rec->api, said->effort ? said->effort : rec->effort,
                          said->budget ? said->budget : rec->budget, e);
    if (r == 0)
        r = find_cwd(a, rec->cwd, e);
    if (r == 0)
        r = env_local(a->cwd, a->home, &a->env, e);
    if (r == 0)
        r = harness_load(said->harness ? said->harness : rec->harness, a->model_id, &a->harness, e);
    if (r < 0)
        return r;
    r = agent_rules(a, e);
    if (r < 0)
        return r;
    rec->switched = strcmp(a->model_id, rec->model) != 0 || strcmp(a->provider->name, rec->api) != 0;
    find_limits(a, false);
    if (rec->switched || said->budget_usd || said->budget)
        agent_longest(a);
    else
        a->model.max_output = rec->max_output;      /* so that requests begin as they did */
    a->set.max_output = a->model.max_output;
    a->set.budget = a->budget;
    a->set.role = a->role;
    a->set.mode = said->mode;
    a->set.model = a->model_id;
    a->set.api = a->provider->name;
    a->set.effort = said->effort ? said->effort : rec->effort;
    if (!rec->switched && !said->images)
        a->images = js_bool(rec->set, "images", js_bool(rec->first, "images", false));
    a->set.images = &a->images;
    return 0;
}

/* The address and the key, once the log is folded; those of another model mean nothing. */
static int address_recorded(struct agent *a, const struct recorded *rec, struct err *e)
{
    struct session *s = a->session;
    int r;

    if (rec->switched) {
        r = find_address(a, NULL, NULL, e);
        a->set.base_url = a->base_url ? a->base_url : "";
        a->set.key_env = a->set.key_env ? a->set.key_env : "";
        a->set.dropped = &s->context.dropped;
    } else {
        r = find_address(a, s->view.base_url && *s->view.base_url ? s->view.base_url : NULL,
                         s->view.key_env && *s->view.key_env ? s->view.key_env : NULL, e);
    }
    return r;
}

static CO int open_recorded(struct agent *a, struct session_row *row, struct recorded *rec)
{
    const struct view *v;
    struct equipment with;
    struct err e = {0};
    char hex[HASH_HEX];
    int r = equip_recorded(a, rec, &e);

    if (r < 0)
        return fail(status_of(r), "%s", e.msg);
    with = equipment(a);
    r = session_open(a->store, row, &with, &a->session, &e);
    if (r < 0)
        return fail(r == -ENODATA ? STATUS_USAGE : STATUS_FAILED, "%s", e.msg);
    v = &a->session->view;
    r = address_recorded(a, rec, &e);
    if (r < 0)
        return fail(status_of(r), "%s", e.msg);
    if (rec->switched && !a->in->opt.quiet)
        print_switch(a, rec->model);
    if (!v->harness_hash || strcmp(hash_hex(&a->harness->hash, hex), v->harness_hash) != 0)
        a->set.harness = a->harness;        /* it is not the one of the last drive: the log says so */
    r = agent_tier(a, a->set.mode ? a->set.mode : v->mode);
    if (r == 0)
        r = agent_box(a);
    if (r == 0 && undo_carry_on(a->session, a->env, &e) < 0)
        r = fail(STATUS_FAILED, "%s", e.msg);
    return r;
}

static CO int fork_recorded(struct agent *a, const struct session_row *row, uint64_t seq, struct recorded *rec)
{
    struct equipment with;
    struct err e = {0};
    int r = equip_recorded(a, rec, &e);

    if (r < 0)
        return fail(status_of(r), "%s", e.msg);
    a->set.cwd = a->cwd;
    a->set.harness = a->harness;
    a->set.base_url = rec->switched ? "" : a->said.base_url;
    a->set.key_env = rec->switched ? "" : a->said.key_env;
    r = agent_tier(a, a->set.mode ? a->set.mode : rec->mode);
    if (r != 0)
        return r;
    with = equipment(a);
    r = session_fork(a->store, row, seq, &with, &a->set, &a->session, &e);
    if (r == 0)
        r = address_recorded(a, rec, &e);
    if (r == 0 && rec->switched) {
        session_set(a->session, &a->set);
        print_switch(a, rec->model);
    }
    return r < 0 ? fail(status_of(r), "%s", e.msg) : agent_box(a);
}

CO int agent_open(struct agent *a, struct session_row *row)
{
    struct recorded rec = {0};
    struct err e = {0};
    int r;

    r = read_recorded(a, row, 0, &rec, &e);
    r = r < 0 ? fail(STATUS_FAILED, "%s", e.msg) : open_recorded(a, row, &rec);
    session_row_done(row);
    return r;
}

CO int agent_fork(struct agent *a, struct session_row *row, uint64_t seq)
{
    struct recorded rec = {0};
    struct err e = {0};
    int r;

    r = read_recorded(a, row, seq, &rec, &e);
    r = r < 0 ? fail(STATUS_FAILED, "%s", e.msg) : fork_recorded(a, row, seq, &rec);
    session_row_done(row);
    return r;
}

/* What this run cost, for whoever wants to see that it does not grow with the session. */
static void write_stats(struct agent *a)
{
    const struct view *v = &a->session->view;
    struct store_stats st = store_stats(a->store);
    FILE *f = fopen(a->in->opt.stats, "we");

    if (!f) {
        fprintf(stderr, "rein: %s: %s\n", a->in->opt.stats, strerror(errno));
        return;
    }
    fprintf(f, "{\"requests\":%lld,\"calls\":%lld,\"events\":%llu,\"folded\":%llu,\"read\":%llu,\"written\":%llu,"
            "\"commits\":%llu}\n", (long long)v->requests, (long long)v->results, (unsigned long long)v->seq,
            (unsigned long long)v->folded, (unsigned long long)st.events_read, (unsigned long long)st.events_written,
            (unsigned long long)st.commits);
    fclose(f);
}

static CO int turn_fiber(void *arg)
{
    struct agent *a = arg;
    struct err e = {0};
    int r = turn_run(a->session, &e);

    if (r < 0 && r != -ECANCELED)
        fail(STATUS_FAILED, "%s; `rein resume %s` goes on", e.msg, a->session->log.row.id);
    return r;
}

static CO int time_limit(void *arg)
{
    struct agent *a = arg;
    int r = fiber_sleep(a->session->view.limits.seconds * 1000);

    if (r == 0 && driving.turn) {
        a->session->cancel_why = "the time limit (--timeout) is reached";
        scope_cancel(driving.turn);
    }
    return 0;
}

static int end_status(struct agent *a)
{
    const struct view *v = &a->session->view;

    switch (v->end) {
    case END_DONE:
        return STATUS_DONE;
    case END_FAILED:
        return STATUS_FAILED;
    case END_BUDGET:
        return STATUS_BUDGET;
    case END_UNREACHABLE:
        return STATUS_MODEL;
    case END_INTERRUPTED:
        return STATUS_INTERRUPTED;
    case END_GUARD:
        return STATUS_GUARD;
    case END_OPEN:
        break;
    }
    return STATUS_DECISION;
}

CO int agent_drive(struct agent *a)
{
    cleanup(scope_done) struct scope turn = SCOPE_INIT;
    const struct view *v = &a->session->view;
    struct err e = {0};
    int r, status;

    if (a->provider->needs_url) {
        quota_name(a->base_url, a->model.key, a->quota);
        a->session->with.quota = a->quota;
    }

    plan_say(a->session);
    driving.turn = &turn;
    scope_go(&turn, "turn", turn_fiber, a);
    if (v->limits.seconds)
        scope_go(&a->side, "time limit", time_limit, a);
    r = scope_join(&turn);
    driving.turn = NULL;
    if (a->in->opt.stats)
        write_stats(a);
    if (r < 0 && r != -ECANCELED)
        return STATUS_FAILED;

    status = end_status(a);
    print_answer(a);
    if (a->plan && v->end != END_OPEN && plan_offer(a, &e) < 0)
        fail(STATUS_FAILED, "the plan cannot be shown: %s", e.msg);
    if (status == STATUS_DECISION)
        print_waiting(a);
    else if (status != STATUS_DONE)
        fail((enum status)status, "%s: %s; `rein resume %s` goes on", end_name(v->end), v->end_why, a->session->log.row.id);
    return status;
}
