/** Code from the documentation. The examples of the documentation run as tests. */
export const calls = [
  {
    title: 'Browser',
    code: `configure({ unlock: { password: 'what the user typed' } }); // once per app
const storage = await createEncryptedStorage();
await storage.setEncrypted('patient:P1', { name: 'Ada', born: 1815 }, DataClassification.PHI, { purpose: 'billing' });
const patient = await storage.getDecrypted('patient:P1'); // { name: 'Ada', born: 1815 }`,
  },
  {
    title: 'React',
    code: `const { value, loading, error, updateValue } = useEncryptedStorage<{ theme: string }>('preferences', 'internal');
if (loading) return <p>Loading…</p>;
if (error) return <p>{error.message}</p>;
return <button onClick={() => updateValue({ theme: 'dark' })}>Theme: {value?.theme ?? 'light'}</button>;`,
  },
  {
    title: 'Go',
    code: `client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true}) // a running Redis
encrypted := cache.Wrap(client, seal.NewSealer(clinic))
err = encrypted.SetEncrypted(ctx, "patient:P1", []byte("Ada"), classify.PHI, cache.TTL(time.Hour))
value, err := encrypted.GetDecrypted(ctx, "patient:P1")`,
  },
  {
    title: 'HTTP',
    code: `curl -X PUT "http://localhost:8080/v1/cache/patient/P1?class=phi&ttl=1h" \\
  -H "Authorization: Bearer $token" \\
  -H 'Content-Type: text/plain' \\
  --data-binary 'Ada'
curl "http://localhost:8080/v1/cache/patient/P1" -H "Authorization: Bearer $token"`,
  },
] as const;
