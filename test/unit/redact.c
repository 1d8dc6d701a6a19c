/* Secrets in texts, whole and in pieces. */
#include "core/redact.h"

#include "test.h"

static void whole(const char *in, const char *want)
{
    struct buf b = {0};

    buf_adds(&b, in);
    redact(&b);
    assert_string_equal(b.p, want);
    buf_done(&b);
}

static void forms(void **state)
{
    (void)state;
    whole("", "");
    whole("a sk-proj-Ab12Cd34Ef56Gh78Ij90 b", "a [secret] b");
    whole("sk-proj-Ab12Cd34Ef56Gh78Ij90", "[secret]");
    whole("sk-proj-Ab12Cd34Ef56Gh78Ij90 ghp_0123456789abcdefghijABCDEFGHIJ012345.", "[secret] [secret].");
    whole("task-sk-lists-are-fine-1-here-and-there", "task-sk-lists-are-fine-1-here-and-there");
    whole("\"a\\nsk-proj-Ab12Cd34Ef56Gh78Ij90\"", "\"a\\n[secret]\"");
    whole("\"-----BEGIN PRIVATE KEY-----\\nabc\\n-----END PRIVATE KEY-----\\nx\"", "\"[secret]\\nx\"");
    whole("{\"a\":\"-----BEGIN PRIVATE KEY-----\\nabc\",\"b\":1}", "{\"a\":\"[secret]\",\"b\":1}");
    whole("-----BEGIN CERTIFICATE-----\nabc", "-----BEGIN CERTIFICATE-----\nabc");
    redact_learn(LIT("correct horse 1"));
    redact_learn(LIT("short"));
    redact_learn(LIT("12345678"));
    whole("the correct horse 1 is short 12345678", "the [secret] is short 12345678");
}

/* However it is cut, the same comes out as of the whole. */
static void pieces(void **state)
{
    static const char text[] = "before sk-proj-Ab12Cd34Ef56Gh78Ij90 after, correct horse 1 and sk-proj-Ab12Cd34Ef56Gh78Ij90.\n"
                               "-----BEGIN PRIVATE KEY-----\nabc\ndef\n-----END PRIVATE KEY-----\nend";
    size_t n = sizeof(text) - 1;

    (void)state;
    redact_learn(LIT("correct horse 1"));
    for (size_t a = 0; a <= n; a++)
        for (size_t b = a; b <= n; b += 7) {
            struct redactor r = {0};
            struct buf out = {0};

            redactor_feed(&r, (struct str){ text, a }, &out);
            redactor_feed(&r, (struct str){ text + a, b - a }, &out);
            redactor_feed(&r, (struct str){ text + b, n - b }, &out);
            redactor_end(&r, &out);
            assert_string_equal(out.p, "before [secret] after, [secret] and [secret].\n[secret]\nend");
            assert_int_equal(r.found, 4);
            redactor_done(&r);
            buf_done(&out);
        }
}

RUN(T(forms), T(pieces))
