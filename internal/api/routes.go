package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/identity"
)

// route is an operation of the API. Its method, path, operation and access are those of openapi.yaml, which a test compares.
type route struct {
	method, path string
	operation    string // the operation's id in openapi.yaml, in the metrics and in the audit log
	access       access
	handle       func(*server, *call) error
}

var routes = []route{
	{"PUT", "/v1/cache/{key}", "putEntry", needs(identity.CacheWrite), (*server).putEntry},
	{"GET", "/v1/cache/{key}", "getEntry", needs(identity.CacheRead), (*server).getEntry},
	{"HEAD", "/v1/cache/{key}", "headEntry", needs(identity.CacheRead), (*server).headEntry},
	{"PATCH", "/v1/cache/{key}", "patchEntry", needs(identity.CacheWrite), (*server).patchEntry},
	{"DELETE", "/v1/cache/{key}", "deleteEntry", needs(identity.CacheWrite), (*server).deleteEntry},
	{"GET", "/v1/cache", "listEntries", needs(identity.CacheRead), (*server).listEntries},
	{"POST", "/v1/cache:batch", "batchEntries", needsForEach(identity.CacheRead | identity.CacheWrite), (*server).batchEntries},

	{"POST", "/v1/encrypt", "encrypt", needs(identity.PackageEncrypt), (*server).encrypt},
	{"POST", "/v1/encrypt:batch", "encryptBatch", needs(identity.PackageEncrypt), (*server).encryptBatch},
	{"POST", "/v1/decrypt", "decrypt", needs(identity.PackageDecrypt), (*server).decrypt},
	{"POST", "/v1/decrypt:batch", "decryptBatch", needs(identity.PackageDecrypt), (*server).decryptBatch},

	{"POST", "/v1/sessions", "createSession", needs(identity.CacheWrite), (*server).createSession},
	{"GET", "/v1/session", "getSession", needs(identity.CacheRead), (*server).getSession},
	{"PATCH", "/v1/session", "extendSession", needs(identity.CacheWrite), (*server).extendSession},
	{"DELETE", "/v1/session", "endSession", needs(identity.CacheWrite), (*server).endSession},

	{"GET", "/v1/keys", "listKeysets", needs(identity.KeysAdmin), (*server).listKeysets},
	{"POST", "/v1/keys:rotate", "rotateKeys", needs(identity.KeysAdmin), (*server).rotateKeys},
	{"POST", "/v1/keys:rollback", "rollbackKeys", needs(identity.KeysAdmin), (*server).rollbackKeys},
	{"POST", "/v1/keys:disable", "disableKey", needs(identity.KeysAdmin), (*server).disableKey},
	{"POST", "/v1/keys:destroy", "destroyKey", needs(identity.KeysAdmin), (*server).destroyKey},
	{"POST", "/v1/keys:shred", "shredTenant", needs(identity.KeysAdmin), (*server).shredTenant},
	{"GET", "/v1/rotations", "listRotations", needs(identity.KeysAdmin), (*server).listRotations},

	{"GET", "/v1/audit", "listEvents", needs(identity.AuditRead), (*server).listEvents},
	{"GET", "/v1/audit/head", "getEventHead", needs(identity.AuditRead), (*server).getEventHead},

	{"GET", "/metrics", "getMetrics", needs(identity.MetricsRead), (*server).getMetrics},
	{"GET", "/livez", "getLive", public, (*server).getLive},
	{"GET", "/readyz", "getReady", public, (*server).getReady},
	{"GET", "/v1/openapi.yaml", "getDocument", public, (*server).getDocument},
	{"GET", "/v1/docs", "getDocs", public, (*server).getDocs},
}

// access is what a token must have for an operation.
type access struct {
	scopes  identity.Scopes // empty means that no token is needed
	forEach bool            // one of the scopes admits the request, and the handler checks the scope of each of its parts
}

var public = access{}

func needs(scopes identity.Scopes) access        { return access{scopes: scopes} }
func needsForEach(scopes identity.Scopes) access { return access{scopes: scopes, forEach: true} }

// usesTenantKeys reports whether the operation works with a tenant's data. Operations that only administer do not, so they
// work while the tenant's keys are unavailable.
func (a access) usesTenantKeys() bool { return a.scopes&^identity.AdminScopes != 0 }

// Operations returns the ids of all operations.
func Operations() []string {
	ids := make([]string, len(routes))
	for i := range routes {
		ids[i] = routes[i].operation
	}
	return ids
}

// echoPath translates a path of the OpenAPI document into a path of Echo. In the latter, a colon starts a parameter, and only
// * matches slashes.
var echoPath = strings.NewReplacer(":", `\:`, "{key}", "*")

// addRoutes adds the routes to Echo. A GET route also answers HEAD, unless HEAD has a route of its own.
func (s *server) addRoutes(e *echo.Echo) {
	for i := range routes {
		r := &routes[i]
		s.addRoute(e, r.method, r)
	}
	for i := range routes {
		r := &routes[i]
		if _, exists := s.routes[http.MethodHead+" "+echoPath.Replace(r.path)]; r.method == http.MethodGet && !exists {
			s.addRoute(e, http.MethodHead, r)
		}
	}
}

func (s *server) addRoute(e *echo.Echo, method string, r *route) {
	path := echoPath.Replace(r.path)
	e.Add(method, path, func(c echo.Context) error { return r.handle(s, callOf(c)) })
	s.routes[method+" "+path] = r
}
