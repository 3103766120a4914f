package config

import (
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	maxTimeout = duration.Day
	maxDelay   = 5 * time.Minute
	maxTTL     = 3650 * duration.Day
	maxLimit   = 1_000_000
)

var environmentLabel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (l *loader) check(r *raw) Config {
	l.algorithm(r.Algorithm)
	return Config{
		Listen:      l.listen(r.Listen),
		Data:        l.data(r.Data),
		MinFree:     int64(l.integer("COFFER_MIN_FREE", r.MinFree, sqlitekv.MinFreeSpace, math.MaxInt)),
		Environment: l.environment(r.Environment),
		Production:  l.production(r),
		Unencrypted: l.unencrypted(r),
		MasterKey:   l.masterKey(),

		KMS:           l.kms(r),
		KDFIterations: l.iterations(r.KDFIterations),
		Keys:          l.keys(r),
		Redis:         l.redis(r),
		TTL:           l.ttls(r),
		OIDC:          l.oidc(r),
		Origins:       l.origins(r.Origins),
		Proxies:       l.proxies(r.Proxies),
		Audit:         l.audit(r),
		Log:           l.log(r),
		Limits: Limits{
			Rate:        l.integer("COFFER_RATE", r.Rate, 0, maxLimit),
			Burst:       l.integer("COFFER_BURST", r.Burst, 1, maxLimit),
			Concurrent:  l.integer("COFFER_CONCURRENT", r.Concurrent, 0, maxLimit),
			Bytes:       l.integer("COFFER_BYTES", r.Bytes, 0, math.MaxInt),
			TenantBytes: l.integer("COFFER_TENANT_BYTES", r.TenantBytes, 0, math.MaxInt),
			Storage:     l.integer("COFFER_TENANT_STORAGE", r.TenantStorage, 0, math.MaxInt),
			Failures:    l.integer("COFFER_TOKEN_FAILURES", r.Failures, 0, maxLimit),
		},
		MaxBody:         int64(l.integer("COFFER_MAX_BODY", r.MaxBody, 1, format.MaxValue)),
		ReadTimeout:     l.timeout("COFFER_READ_TIMEOUT", r.ReadTimeout),
		WriteTimeout:    l.timeout("COFFER_WRITE_TIMEOUT", r.WriteTimeout),
		IdleTimeout:     l.timeout("COFFER_IDLE_TIMEOUT", r.IdleTimeout),
		RequestTimeout:  l.timeout("COFFER_REQUEST_TIMEOUT", r.RequestTimeout),
		ShutdownDelay:   l.delay("COFFER_SHUTDOWN_DELAY", r.ShutdownDelay),
		ShutdownTimeout: l.timeout("COFFER_SHUTDOWN_TIMEOUT", r.ShutdownTimeout),
	}
}

func (l *loader) listen(text string) string {
	_, port, err := net.SplitHostPort(text)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n > math.MaxUint16 {
		l.refuse("COFFER_LISTEN", "must be host:port, such as 127.0.0.1:8080; port 0 takes a free one")
	}
	return text
}

func (l *loader) data(text string) string {
	if text == "" || strings.ContainsRune(text, 0) {
		l.refuse("COFFER_DATA", "must be the path of a directory")
	}
	return text
}

func (l *loader) environment(text string) string {
	if !environmentLabel.MatchString(text) {
		l.refuse("COFFER_ENVIRONMENT", "must be a label of 1 to 64 lower-case letters, digits and hyphens, such as dev, staging or prod")
	}
	return text
}

// iterations raises what is too cheap: a password is only as strong as its cheapest derivation.
func (l *loader) iterations(text string) uint32 {
	n := l.integer("KDF_ITERATIONS", text, 1, classify.MaxIterations)
	if n > 0 && n < classify.MinWriteIterations {
		l.warn("%s is below the least that is written: raised to %d", l.name("KDF_ITERATIONS"), classify.MinWriteIterations)
		n = classify.MinWriteIterations
	}
	return uint32(n)
}

// integer returns 0 where text is no integer from least to most.
func (l *loader) integer(variable, text string, least, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		l.refuse(variable, "must be a whole number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
		return 0
	}
	return n
}

func (l *loader) timeout(variable, text string) time.Duration {
	d, err := duration.Parse(text)
	if err != nil || d <= 0 || d > maxTimeout {
		l.refuse(variable, "must be a duration above 0 and up to 1d, such as 30s or 2m")
	}
	return d
}

func (l *loader) delay(variable, text string) time.Duration {
	d, err := duration.Parse(text)
	if err != nil || d < 0 || d > maxDelay {
		l.refuse(variable, "must be a duration up to 5m, such as 5s; 0s is none")
	}
	return d
}

// ttls takes longer times than the table's too, and says so: whoever set them has a reason, or a wrong unit.
func (l *loader) ttls(r *raw) map[classify.Class]time.Duration {
	ttls := map[classify.Class]time.Duration{}
	texts := [...]string{
		classify.Public: r.TTLPublic, classify.Internal: r.TTLInternal, classify.Confidential: r.TTLConfidential, classify.PII: r.TTLPII, classify.PHI: r.TTLPHI,
	}
	for _, class := range classify.All {
		text := texts[class]
		variable, rule := "COFFER_TTL_"+strings.ToUpper(class.String()), time.Duration(class.Rules().MaxTTL)*time.Second
		if ttls[class] = rule; class == classify.Public && text == "none" {
			continue
		}
		d, err := duration.Parse(text)
		if err != nil || d < time.Second || d > maxTTL {
			l.refuse(variable, "must be a duration from 1s to 3650d, such as 12h or 7d; for public also none")
			continue
		}
		if ttls[class] = d; rule > 0 && d > rule {
			l.warn("%s is longer than the %s that the class is meant for", variable, duration.Format(rule))
		}
	}
	return ttls
}

// production reads COFFER_PRODUCTION. Unset, it is true for every label but dev: an operator who forgets it is refused what production
// forbids, and is not left unprotected because of a label that no pattern knows.
func (l *loader) production(r *raw) bool {
	if r.Production == "" {
		return r.Environment != development
	}
	return l.truth(productionVariable, r.Production)
}

const productionVariable = "COFFER_PRODUCTION"

// inProduction begins the reason of what production refuses, and names the way out.
func (l *loader) inProduction() string {
	if l.set(productionVariable) {
		return "must not be used while COFFER_PRODUCTION is true"
	}
	return "must not be used in production, which every environment but dev is unless COFFER_PRODUCTION is false"
}

func (l *loader) unencrypted(r *raw) bool {
	if l.truth("ENCRYPTION_ENABLED", r.Enabled) {
		return false
	}
	if l.production(r) {
		l.refuse("ENCRYPTION_ENABLED", "is false, which "+l.inProduction()+": values would be stored in the clear")
		return false
	}
	l.warn("ENCRYPTION_ENABLED is false: VALUES ARE STORED IN THE CLEAR, for local debugging only; they cannot be read once it is true")
	return true
}

// algorithms are spellings of the one that there is, without hyphens and underscores.
var algorithms = []string{"AES256GCM", "AESGCM"}

func (l *loader) algorithm(text string) {
	spelled := strings.NewReplacer("-", "", "_", "").Replace(strings.ToUpper(text))
	if !slices.Contains(algorithms, spelled) {
		l.refuse("ENCRYPTION_ALGORITHM", "must be AES-256-GCM: the package format has no other algorithm for values, and it needs no choice")
	}
}

func (l *loader) truth(variable, text string) bool {
	yes, err := strconv.ParseBool(text)
	if err != nil {
		l.refuse(variable, "must be true or false")
	}
	return yes
}
