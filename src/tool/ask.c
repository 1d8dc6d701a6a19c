/* ask.c - a question for the person: the session waits for the answer, and holds nothing meanwhile. */
#include "core/harness.h"

/* The answer may be the number of a choice. */
static struct str meant(const struct call *c)
{
    const json_t *choice;
    char *end;
    long n = strtol(c->said, &end, 10);

    if (*end || n < 1)
        return str_of(c->said);
    choice = json_array_get(json_object_get(c->args, "choices"), (size_t)n - 1);
    return json_is_string(choice) ? (struct str){ json_string_value(choice), json_string_length(choice) } : str_of(c->said);
}

static CO int ask_run(struct call *c)
{
    buf_adds(&c->result->text, "The user answers: ");
    buf_add_str(&c->result->text, meant(c));
    result_ok(c->result);
    return 0;
}

const struct tool tool_ask = {
    .name       = "ask",
    .effect     = EFFECT_PURE,
    .origin     = FROM_USER,
    .asks       = true,
    .title_args = "question",
    .run        = ask_run,
};
