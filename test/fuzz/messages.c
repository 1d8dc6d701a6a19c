#include "../../src/provider/messages.c"
#include "stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&messages_form, &provider_messages, data, n);
}
