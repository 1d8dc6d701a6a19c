#include "../../src/provider/messages.c"
#include "stream.h"

size_t fuzz_cuts(const uint8_t *data, size_t n);

size_t fuzz_cuts(const uint8_t *data, size_t n)
{
    return equal_cuts(&messages_form, (struct str){ (const char *)data, n });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&messages_form, &provider_messages, data, n);
}
