"""The cluster engine: Apache Cassandra 5 and Astra DB."""
