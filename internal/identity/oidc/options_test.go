package oidc_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity/oidc"
)

func TestInvalidOptionsAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*oidc.Options)
		says   string // empty: the options are valid
	}{
		"as they are":           {func(*oidc.Options) {}, ""},
		"http on this machine":  {func(o *oidc.Options) { o.Issuer = "http://localhost:8080/realm" }, ""},
		"http on 127/8":         {func(o *oidc.Options) { o.Issuer = "http://127.1.2.3" }, ""},
		"http on ::1":           {func(o *oidc.Options) { o.Issuer = "http://[::1]:80" }, ""},
		"http allowed":          {func(o *oidc.Options) { o.Issuer, o.AllowHTTP = "http://id.example", true }, ""},
		"http elsewhere":        {func(o *oidc.Options) { o.Issuer = "http://id.example" }, "https"},
		"http by a like name":   {func(o *oidc.Options) { o.Issuer = "http://localhost.example" }, "https"},
		"http by a like number": {func(o *oidc.Options) { o.Issuer = "http://127.0.0.1.example" }, "https"},
		"keys by http":          {func(o *oidc.Options) { o.JWKSURL = "http://id.example/keys" }, "the JWKS URL must use https"},
		"no issuer":             {func(o *oidc.Options) { o.Issuer = "" }, "the issuer must be a URL"},
		"a name":                {func(o *oidc.Options) { o.Issuer = "id.example" }, "the issuer must be a URL"},
		"a file":                {func(o *oidc.Options) { o.Issuer = "file://h/x" }, "https"},
		"a user":                {func(o *oidc.Options) { o.Issuer = "https://a:pl4nted@id.example" }, "the issuer must be a URL"},
		"a query":               {func(o *oidc.Options) { o.Issuer = "https://id.example?x" }, "the issuer must be a URL"},
		"a fragment":            {func(o *oidc.Options) { o.Issuer = "https://id.example#x" }, "the issuer must be a URL"},
		"no audience":           {func(o *oidc.Options) { o.Audiences = nil }, "an audience"},
		"an empty audience":     {func(o *oidc.Options) { o.Audiences = []string{"a", ""} }, "an audience"},
		"alg none":              {func(o *oidc.Options) { o.Algorithms = []string{"RS256", "none"} }, "the algorithms"},
		"alg HS256":             {func(o *oidc.Options) { o.Algorithms = []string{"HS256"} }, "the algorithms"},
		"skew below 0":          {func(o *oidc.Options) { o.Skew = -1 }, "the clock skew"},
		"skew above 5m":         {func(o *oidc.Options) { o.Skew = 5*time.Minute + 1 }, "the clock skew"},
		"an empty step":         {func(o *oidc.Options) { o.TenantClaim = "/a//b" }, "the tenant claim"},
		"no pointer":            {func(o *oidc.Options) { o.ScopesClaim = "/a~2b" }, "the scopes claim"},
		"half an escape":        {func(o *oidc.Options) { o.ScopesClaim = "/a~" }, "the scopes claim"},
		"no log":                {func(o *oidc.Options) { o.Log = nil }, "a log"},
	} {
		t.Run(name, func(t *testing.T) {
			options := oidc.Options{Issuer: "https://id.example/realm", Audiences: []string{"coffer"}, Log: slog.New(slog.DiscardHandler)}
			c.change(&options)
			_, err := oidc.New(options)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "pl4nted")
		})
	}
	_, err := oidc.New(oidc.Options{})
	for _, says := range []string{"issuer", "audience", "log"} {
		require.ErrorContains(t, err, says, "all errors are reported together")
	}
}
