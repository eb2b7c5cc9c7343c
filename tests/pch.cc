// Carries the precompiled headers that all tests share; does nothing by itself.
int main() { return 0; }
