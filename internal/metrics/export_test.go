package metrics

// MaxTenants is how many tenants have a label of their own.
const MaxTenants = maxTenants
