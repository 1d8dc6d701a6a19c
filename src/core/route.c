#include "core/route.h"

#include <stdio.h>

static int read_one(const json_t *rule, size_t number, struct route *ret, struct err *e)
{
    static const char *const known[] = { "role", "private", "failed", "tokens_above", "usd_above", "to" };
    const json_t *usd = json_object_get(rule, "usd_above");
    const char *key;
    char text[32], *end;
    double dollars = 0;
    json_t *value;

    json_object_foreach((json_t *)rule, key, value) {
        size_t i = 0;

        while (i < ARRAY_SIZE(known) && strcmp(known[i], key) != 0)
            i++;
        if (i == ARRAY_SIZE(known))
            return err_set(e, -EBADMSG, "routes: rule %zu: there is no condition '%s'", number, key);
    }
    if (usd) {
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(usd));
        dollars = strtod(json_is_string(usd) ? json_string_value(usd) : text, &end);
        if (*end || !(dollars >= 0 && dollars < 1e6))
            return err_set(e, -EBADMSG, "routes: rule %zu: usd_above is no number of dollars", number);
    }
    if (!js_str(rule, "to").n)
        return err_set(e, -EBADMSG, "routes: rule %zu does not say where: to: MODEL", number);
    *ret = (struct route){
        .role = js_str(rule, "role").n ? str_dup(js_str(rule, "role")) : NULL, .is_private = js_bool(rule, "private", false),
        .failed = js_bool(rule, "failed", false), .tokens_above = js_int(rule, "tokens_above", 0),
        .cost_above = (int64_t)(dollars * 1e9 + .5), .to = str_dup(js_str(rule, "to")),
    };
    return 0;
}

int routes_read(const json_t *list, struct routes *ret, struct err *e)
{
    const json_t *rule;
    size_t i;

    json_array_foreach(list, i, rule) {
        int r;

        GROW(ret->v, ret->n, ret->cap);
        r = read_one(rule, i + 1, &ret->v[ret->n], e);
        if (r < 0)
            return r;
        ret->n++;
    }
    return 0;
}

void routes_done(struct routes *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->v[i].role);
        free(r->v[i].to);
    }
    free(r->v);
    *r = (struct routes){0};
}

ssize_t routes_match(const struct routes *r, const struct view *v, const char *role, bool failed)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct route *t = &r->v[i];

        if ((t->role && strcmp(t->role, role) != 0) || (t->is_private && !v->is_private) || t->failed != failed ||
            (t->tokens_above && v->last_in + v->last_out <= t->tokens_above) || (t->cost_above && v->cost <= t->cost_above))
            continue;
        return (ssize_t)i;
    }
    return -1;
}
