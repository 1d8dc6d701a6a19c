/* empty.c - what any program costs. */
int main(void)
{
    return 0;
}
