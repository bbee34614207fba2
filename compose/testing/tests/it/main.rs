mod proxy;
mod servers;
