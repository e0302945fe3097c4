<?php

namespace App;

use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\TwigBundle\TwigBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel as BaseKernel;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

class Kernel extends BaseKernel
{
    use MicroKernelTrait;

    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new TwigBundle()];
    }

    public function getProjectDir(): string
    {
        return dirname(__DIR__);
    }

    /** The app's folder may be read-only. */
    public function getCacheDir(): string
    {
        return (getenv('CACHE_DIRECTORY') ?: sys_get_temp_dir()) . '/symfony-' . md5(__DIR__);
    }

    public function getLogDir(): string
    {
        return $this->getCacheDir();
    }

    protected function configureContainer(ContainerConfigurator $container): void
    {
        $container->extension('framework', [
            'secret' => 'only for tests',
            'http_method_override' => false,
            'session' => ['handler_id' => null, 'cookie_secure' => 'auto', 'cookie_samesite' => 'lax'],
            'form' => true,
            'csrf_protection' => true,
            'assets' => true,
            // The server tells PHP all of this itself; apps that were behind another one before believe these, too.
            'trusted_proxies' => getenv('TRUSTED_PROXIES') ?: '',
            'trusted_headers' => ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port', 'x-forwarded-prefix'],
        ]);
        $container->extension('twig', ['default_path' => '%kernel.project_dir%/templates', 'strict_variables' => true]);
        $container->services()->defaults()->autowire()->autoconfigure()
            ->load('App\\', __DIR__ . '/*')->exclude(__FILE__);
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->add('home', '/')->controller([NoteController::class, 'home'])->methods(['GET']);
        $routes->add('note', '/notes/{name}')->controller([NoteController::class, 'note'])->methods(['GET']);
        $routes->add('write', '/write')->controller([NoteController::class, 'write'])->methods(['GET', 'POST']);
        $routes->add('echo', '/echo')->controller([NoteController::class, 'echo'])->methods(['POST']);
        $routes->add('version', '/version')->controller([NoteController::class, 'version'])->methods(['GET']);
    }
}
