#include "cmd/config.h"

#include "base/yaml.h"
#include "core/redact.h"

#include <fcntl.h>
#include <unistd.h>

#define CONFIG_MAX ((size_t)256 << 10)

static const char *const sections[] = { "providers", "models", "roles", "budgets", "environment", "routes", "private",
                                       "network", NULL };

static const char *const lists[] = { "environment", "routes", "private", "network", NULL };

static bool one_of(const char *word, const char *const *list)
{
    while (*list && strcmp(*list, word) != 0)
        list++;
    return *list != NULL;
}

/* Objects only have members that mean something: a misspelt one would be a setting that is silently not there. */
static int check_members(const json_t *obj, const char *const *known, const char *where, struct err *e)
{
    const char *key;
    json_t *value;

    if (!json_is_object(obj))
        return err_set(e, -EBADMSG, "%s is no list of settings", where);
    json_object_foreach((json_t *)obj, key, value)
        if (!one_of(key, known))
            return err_set(e, -EBADMSG, "%s: there is no setting '%s'", where, key);
    return 0;
}

/* Each entry of a section has only settings that are known. */
static int check_section(const json_t *list, const char *section, const char *const *known, struct err *e)
{
    static const char *const prices[] = { "in", "cached", "written", "out", NULL };
    const char *name;
    json_t *value;
    int r = 0;

    json_object_foreach((json_t *)list, name, value) {
        cleanup(freep) char *where = xasprintf("%s: %s", section, name);

        if (r == 0)
            r = check_members(value, known, where, e);
        if (r == 0 && json_object_get(value, "price"))
            r = check_members(json_object_get(value, "price"), prices, where, e);
    }
    return r;
}

int config_load(const char *home, struct config *ret, struct err *e)
{
    static const char *const of_provider[] = { "like", "api", "base_url", "key_env", "key_command", "local", "members", "strict",
                                               "reasons_always", "bare_stream", "cache_key", "limit", NULL };
    static const char *const of_model[] = { "context", "output", "images", "price", NULL };
    cleanup(buf_done) struct buf text = BUF_MAX(CONFIG_MAX);
    cleanup(closep) int fd = -1;
    const char *key;
    json_t *value;
    ssize_t n = 0;
    char *to;
    int r;

    ret->path = xasprintf("%s/config.yaml", home);
    fd = open(ret->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_set(e, -errno, "%s: %s", ret->path, strerror(errno));
    while ((to = buf_room(&text, 4096)) && (n = read(fd, to, 4096)) > 0)
        text.n += (size_t)n;
    if (!to || n < 0)
        return err_set(e, !to ? -E2BIG : -errno, "%s: %s", ret->path, !to ? "it is larger than 256 KiB" : strerror(errno));
    if (str_trim(buf_str(&text)).n == 0)
        return 0;
    r = yaml_parse(buf_str(&text), &ret->tree, e);
    if (r == 0 && json_is_null(ret->tree))
        return 0;                       /* nothing but comments */
    if (r == 0 && !json_is_object(ret->tree))
        r = err_set(e, -EBADMSG, "it is no list of settings");
    json_object_foreach(ret->tree, key, value)
        if (r == 0 && one_of(key, sections) && !(one_of(key, lists) ? json_is_array(value) : json_is_object(value)))
            r = err_set(e, -EBADMSG, "%s is no list%s", key, one_of(key, lists) ? "" : " of names with settings");
    if (r == 0)
        r = check_section(json_object_get(ret->tree, "providers"), "providers", of_provider, e);
    if (r == 0)
        r = check_section(json_object_get(ret->tree, "models"), "models", of_model, e);
    return r < 0 ? err_prefix(e, -EBADMSG, "%s: ", ret->path) : 0;
}

void config_done(struct config *c)
{
    while (c->made) {
        struct made_service *next = c->made->next;

        free(c->made->members);
        free(c->made);
        c->made = next;
    }
    json_decref(c->tree);
    free(c->path);
    *c = (struct config){0};
}

void config_environment(const struct config *c)
{
    const json_t *name;
    size_t i;

    json_array_foreach(json_object_get(c->tree, "environment"), i, name)
        redact_keep(str_of(json_string_value(name)));
    redact_learn_environment();
}

int config_options(const struct config *c, struct options *opt, struct err *e)
{
    const char *key;
    json_t *value;

    json_object_foreach(c->tree, key, value) {
        int r = one_of(key, sections) ? 0 : options_config(opt, key, value, e);

        if (r < 0)
            return err_prefix(e, r, "%s: ", c->path);
    }
    return 0;
}

static const char *text_or(const json_t *obj, const char *key, const char *otherwise)
{
    struct str s = js_str(obj, key);

    return s.p ? s.p : otherwise;
}

int config_service(struct config *c, struct str name, const struct service **ret, struct err *e)
{
    const json_t *mine = json_object_getn(json_object_get(c->tree, "providers"), name.p ? name.p : "", name.n), *members;
    struct str like = js_str(mine, "like");
    const struct service *base = service_find(like.n ? like : name);
    struct made_service *m;
    struct service *s;

    *ret = base;
    if (!mine)
        return 0;
    if (like.n && !base)
        return err_set(e, -EINVAL, "%s: providers: %.*s: there is no service '%.*s' to be like", c->path, STR(name), STR(like));
    for (m = c->made; m; m = m->next)
        if (str_is(name, m->service.name)) {
            *ret = &m->service;
            return 0;
        }
    m = xcalloc(1, sizeof(*m));
    m->next = c->made;
    c->made = m;
    s = &m->service;
    if (base)
        *s = *base;
    /* A name of the tree lives as long as the tree. */
    json_object_foreach(json_object_get(c->tree, "providers"), s->name, members)
        if (str_is(name, s->name))
            break;
    members = json_object_get(mine, "members");
    if (json_object_size(members)) {
        cleanup(freep) char *text = json_dumps(members, JSON_COMPACT | JSON_PRESERVE_ORDER);

        m->members = xstrndup(text + 1, strlen(text) - 2);
        s->members = m->members;
    }
    s->api = text_or(mine, "api", s->api ? s->api : "chat");
    if (js_str(mine, "base_url").n) {
        s->base_url = js_str(mine, "base_url").p;
        s->key_env = NULL;              /* a key goes to its own service's address only */
    }
    s->key_env = text_or(mine, "key_env", s->key_env);
    m->key_command = (char *)js_str(mine, "key_command").p;
    s->limit = text_or(mine, "limit", s->limit);
    s->local = js_bool(mine, "local", s->local);
    s->strict = js_bool(mine, "strict", s->strict);
    s->reasons_always = js_bool(mine, "reasons_always", s->reasons_always);
    s->bare_stream = js_bool(mine, "bare_stream", s->bare_stream);
    s->cache_key = js_bool(mine, "cache_key", s->cache_key);
    *ret = s;
    return 0;
}

const char *config_key_command(const struct config *c, const struct service *s)
{
    for (const struct made_service *m = c->made; m; m = m->next)
        if (&m->service == s)
            return m->key_command;
    return NULL;
}

/* A number of dollars. */
static bool read_dollars(const json_t *v, double *ret)
{
    char text[32], *end;

    snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
    *ret = strtod(json_is_string(v) ? json_string_value(v) : text, &end);
    return *end == 0 && *ret >= 0 && *ret < 1e6 && (json_is_integer(v) || (json_is_string(v) && json_string_length(v)));
}

static int read_price(const json_t *price, const char *key, int64_t *ret, struct err *e)
{
    const json_t *v = json_object_get(price, key);
    double dollars;

    if (!v)
        return 0;
    if (!read_dollars(v, &dollars))
        return err_set(e, -EBADMSG, "price: %s is no number of dollars per million tokens", key);
    *ret = (int64_t)(dollars * 1e6 + .5);
    return 0;
}

int config_budget(const struct config *c, const char *name, int64_t *ret, struct err *e)
{
    const json_t *v = json_object_get(json_object_get(c->tree, "budgets"), name);
    double dollars;

    if (!v)
        return err_set(e, -ENOENT, "%s has no budget '%s': budgets: {%s: DOLLARS}", c->path, name, name);
    if (!read_dollars(v, &dollars))
        return err_set(e, -EINVAL, "%s: budgets: %s is no number of dollars", c->path, name);
    *ret = (int64_t)(dollars * 1e9 + .5);
    return 0;
}

int config_facts(const struct config *c, const char *id, struct facts *ret, struct err *e)
{
    const json_t *mine = json_object_get(json_object_get(c->tree, "models"), id), *price = json_object_get(mine, "price");
    int r = 0;

    *ret = facts_find(id);
    if (!mine)
        return 0;
    ret->context = js_int(mine, "context", ret->context);
    ret->output = js_int(mine, "output", ret->output);
    if (json_object_get(mine, "images")) {
        ret->images = js_bool(mine, "images", false);
        ret->no_images = !ret->images;
    }
    if (price) {
        struct price *p = &ret->price;

        *p = (struct price){ .known = true };
        r = read_price(price, "in", &p->in, e);
        p->cached = p->written = p->in;
        if (r == 0)
            r = read_price(price, "cached", &p->cached, e);
        if (r == 0)
            r = read_price(price, "written", &p->written, e);
        if (r == 0)
            r = read_price(price, "out", &p->out, e);
    }
    return r < 0 ? err_prefix(e, r, "%s: models: %s: ", c->path, id) : 0;
}

int config_services(struct config *c, const struct service ***ret, size_t *ret_n, struct err *e)
{
    cleanup(freep) const struct service **list = NULL;
    const json_t *mine = json_object_get(c->tree, "providers");
    size_t n = 0, cap = 0;
    const char *name;
    json_t *value;
    int r;

    json_object_foreach((json_t *)mine, name, value) {
        GROW(list, n, cap);
        r = config_service(c, str_of(name), &list[n++], e);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; services[i]; i++)
        if (!json_object_get(mine, services[i]->name)) {
            GROW(list, n, cap);
            list[n++] = services[i];
        }
    *ret = TAKE(list);
    *ret_n = n;
    return 0;
}

const char *config_role(const struct config *c, const char *role)
{
    return js_str(json_object_get(c->tree, "roles"), role).p;
}
