package badgerkv
import ("testing";"time";"fmt";"os";"strings";"runtime/debug";"github.com/stretchr/testify/require";"math/rand/v2";"strconv")
func rss() string { b,_:=os.ReadFile("/proc/self/status"); var o []string; for _,l:=range strings.Split(string(b),"\n"){ if strings.HasPrefix(l,"RssAnon"){o=append(o,strings.Join(strings.Fields(l)," "))}}; return strings.Join(o,"; ")}
func TestZZ(t *testing.T){
	n,_:=strconv.Atoi(os.Getenv("ZN"))
	s:=open(t,t.TempDir())
	a:=rss()
	v:=make([]byte,n); rand.NewChaCha8([32]byte{2}).Read(v); k:=max(8,(512<<20)/n)
	b0:=time.Now(); for i:=range k { require.NoError(t,s.Set(t.Context(),fmt.Sprint("L",i),v,time.Hour))}; d:=time.Since(b0)
	m:=rss()
	b1:=time.Now(); for i:=range k { s.Get(t.Context(),fmt.Sprint("L",i))}; d1:=time.Since(b1)
	b2:=time.Now(); s.flush(); d2:=time.Since(b2)
	x:=rss(); debug.FreeOSMemory()
	t.Logf("%d B: set %.0f/s %.0f MB/s get %.0f MB/s flush %v | open %s, after set %s, after get %s, freed %s",n,float64(k)/d.Seconds(), float64(n*k)/1e6/d.Seconds(),float64(n*k)/1e6/d1.Seconds(),d2,a,m,x,rss())
}
