#include "../../src/provider/chat.c"
#include "stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&chat_form, &provider_chat, data, n);
}
